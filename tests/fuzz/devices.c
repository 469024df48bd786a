/* SPDX-License-Identifier: MIT */
/*
 * Calls of the fuzzer: DMA, the display, the exporter, drivers, parameters.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/dma-buf.h>
#include <linux/dmabuf_sync.h>
#include <linux/vblit.h>
#include <linux/vdisplay.h>
#include <linux/vdmabuf.h>

#include "worker.h"

/* tests/module/dsync_test.h */
struct driver_call { int32_t fd, value; };
#define DRIVER(nr) _IOW(0xA8, nr, struct driver_call)
#define DRIVER_QUICK (1 << 3)
#define DRIVER_WAIT (1 << 16)
#define DRIVER_TIDY (1 << 17)

static void submit(void)
{
	struct vblit_op ops[3] = {};
	__s32 in_fences[2] = { file_of(&fences), file_of(&fences) };
	struct vblit_submit request = {
		.ops = (uintptr_t)ops,
		.num_ops = 1 + below(LENGTH(ops)),
		.flags = PICK(0, 1, 1, 3),
		.dst_fd = buffer(),
		.in_fences = (uintptr_t)in_fences,
		.num_in_fences = fences.count > 0 ? below(3) : 0,
	};

	for (unsigned int i = 0; i < request.num_ops; i++) {
		struct vblit_op *op = &ops[i];

		op->dst.offset = below(4) * 64;
		if (below(2)) {
			op->op = VBLIT_OP_FILL;
			op->src_fd = -1;
			op->dst.pitch = 64;
			op->dst.bytes_per_pixel = 4;
			op->dst.width = below(17);
			op->dst.height = PICK(1, 8, 1 << 20);
		} else {
			op->op = VBLIT_OP_COPY;
			op->src_fd = buffer();
			op->length = PICK(64, PAGE, SIZE + 1);
		}
	}
	if (!ioctl(file_of(&blitters), VBLIT_IOC_SUBMIT, &request))
		keep(&jobs, request.job_fd);
}

static void look_at_job(void)
{
	struct dmabuf_sync_job_sync_file request = {};
	struct dmabuf_sync_job_info info;
	int fd = file_of(&jobs);

	ioctl(fd, DMABUF_SYNC_IOC_JOB_INFO, &info);
	if (!ioctl(fd, DMABUF_SYNC_IOC_JOB_SYNC_FILE, &request))
		keep(&fences, request.fd);
}

static void another_blitter(void)
{
	keep(&blitters, open(below(4) ? "/dev/vblit" : "/dev/vblit-edu", O_RDWR | O_CLOEXEC));
}

/* Mostly to nothing: what is shown cannot be written, and has no deadline. */
static void flip(void)
{
	struct vdisplay_flip request = {
		.fd = below(4) ? -1 : buffer(), .flags = below(2), .period_us = PICK(0, 1000, 3000),
	};

	request.length = request.fd < 0 ? 0 : PAGE;
	ioctl(display, VDISPLAY_IOC_FLIP, &request);
}

static void read_display(void)
{
	struct pollfd ready = { .fd = display, .events = POLLIN };
	char events[256];

	if (poll(&ready, 1, 0) > 0 && read(display, events, sizeof(events)) < 0)
		return;
}

void another_display(void)
{
	int fd = open("/dev/vdisplay", O_RDWR | O_CLOEXEC);

	if (fd >= 0) {
		dup2(fd, display);
		close(fd);
	}
}

static void cpu_access(void)
{
	struct dma_buf_sync sync = { .flags = PICK(1, 2, 3) | PICK(0, 4) };

	ioctl(buffer(), DMA_BUF_IOCTL_SYNC, &sync);
}

static void implicit_fences(void)
{
	struct dma_buf_export_sync_file request = { .flags = PICK(1, 2, 3), .fd = file_of(&fences) };

	if (below(2)) {
		ioctl(buffer(), DMA_BUF_IOCTL_IMPORT_SYNC_FILE, &request);
		return;
	}
	if (!ioctl(buffer(), DMA_BUF_IOCTL_EXPORT_SYNC_FILE, &request))
		keep(&fences, request.fd);
}

/* The dma-buf of one's own goes, whoever holds it, and another one comes. */
static void replace_buffer(void)
{
	struct vdmabuf_alloc request = {
		.size = SIZE, .fd_flags = O_RDWR | O_CLOEXEC, .flags = PICK(0, 0, 1, 2),
	};

	if (!ioctl(exporter, VDMABUF_IOC_ALLOC, &request)) {
		dup2(request.fd, buffers[buffer_count - 1]);
		close(request.fd);
	}
}

/* Pages of a memfd, shared with nobody. */
static void export_memfd(void)
{
	struct vdmabuf_from_memfd request = {
		.memfd = memfd_create("fuzz", MFD_CLOEXEC | PICK(0, MFD_ALLOW_SEALING)),
		.offset = PICK(0, 0, PAGE, 1),
		.size = PICK(PAGE, PAGE, SIZE, 0),
		.fd_flags = PICK(O_RDWR, O_RDONLY) | O_CLOEXEC,
	};

	if (request.memfd < 0)
		return;
	if (!ftruncate(request.memfd, 2 * PAGE))
		fcntl(request.memfd, F_ADD_SEALS, PICK(F_SEAL_SHRINK, F_SEAL_SHRINK, F_SEAL_WRITE));
	if (!ioctl(exporter, VDMABUF_IOC_FROM_MEMFD, &request))
		close(request.fd);
	close(request.memfd);
}

static _Thread_local sigjmp_buf untouchable;
static _Thread_local volatile sig_atomic_t touching;

/* A strict buffer that is not locked, or one whose memory is not to be had. */
static void bus_error(int number)
{
	if (touching)
		siglongjmp(untouchable, 1);
	signal(number, SIG_DFL);
}

/* The last buffer may be a strict one: the memory goes when the lock does. */
static void map_and_touch(void)
{
	volatile char *bytes = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
				    below(2) ? buffer() : buffers[buffer_count - 1], 0);

	if (bytes == MAP_FAILED)
		return;
	signal(SIGBUS, bus_error);
	if (!sigsetjmp(untouchable, 1)) {
		touching = 1;
		for (int i = below(4); i; i--) {
			if (below(2))
				bytes[below(SIZE)] = 1;
			else
				(void)bytes[below(SIZE)];
		}
	}
	touching = 0;
	munmap((char *)bytes, SIZE);
}

#define PARAMETERS(module) "/sys/module/" module "/parameters/"

/* Jobs that hang are stopped soon: __main__.py and the values here see to it. */
static void write_parameter(void)
{
	static const struct { const char *path, *values[6]; } parameters[] = {
		{ PARAMETERS("dmabuf_sync") "hold_timeout_ms", { "2", "5", "20", "0", "-1", "x" } },
		{ PARAMETERS("dmabuf_sync") "max_hold_timeout_ms",
		  { "2", "5", "20", "0", "-1", "x" } },
		{ PARAMETERS("dmabuf_sync") "job_timeout_ms", { "5", "20", "20", "20", "0", "x" } },
		{ PARAMETERS("vblit") "latency_us", { "0", "0", "300", "1000", "-1", "x" } },
		{ PARAMETERS("vblit") "fault", { "0", "0", "0", "1", "2", "5" } },
	};
	int which = below(LENGTH(parameters));
	const char *value = parameters[which].values[below(6)];
	int fd = open(parameters[which].path, O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, value, strlen(value)) >= 0)
		errno = 0;
	close(fd);
}

static void look_around(void)
{
	static const char * const paths[] = {
		"/sys/kernel/debug/dmabuf_sync/buffers", "/sys/kernel/debug/dmabuf_sync/stats",
		"/proc/locks", "/sys/kernel/debug/vdmabuf/stats",
	};
	int fd = open(paths[below(LENGTH(paths))], O_RDONLY | O_CLOEXEC);
	char text[PAGE];

	while (fd >= 0 && read(fd, text, sizeof(text)) > 0)
		;
	close(fd);
}

static long driver(int fd, unsigned int number, int with, int value)
{
	struct driver_call call = { .fd = with, .value = value };

	return ioctl(fd, DRIVER(number), &call);
}

/* A driver that does it right: locks or submits what it has, and cleans up. */
static void be_a_driver(void)
{
	int fd = open("/dev/dsync_test", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return;
	driver(fd, 0xC1, -1, DRIVER_QUICK);
	driver(fd, 0xC5, buffer(), PICK(1, 2, 5, 6, 6));
	driver(fd, 0xC5, buffer(), PICK(5, 6));
	switch (below(3)) {
	case 0:
		if (!driver(fd, PICK(0xC9, 0xCA), -1, 0) && below(2))
			driver(fd, 0xCB, -1, 0);
		break;
	case 1:
		if (!driver(fd, 0xCE, -1, 0) && below(2))
			driver(fd, 0xD0, -1, 0);
		break;
	case 2:
		/* Closing unlocks it, also when we are killed. */
		driver(fd, 0xCC, buffer(),
		       PICK(1, 2, 5, 6) | DRIVER_TIDY | (below(2) ? DRIVER_WAIT : 0));
	}
	close(fd);
}

const struct call device_calls[] = {
	{ submit, 14 }, { look_at_job, 6 }, { another_blitter, 2 }, { flip, 6 }, { read_display, 3 },
	{ another_display, 1 }, { cpu_access, 5 }, { implicit_fences, 5 }, { replace_buffer, 4 },
	{ export_memfd, 1 }, { map_and_touch, 3 }, { write_parameter, 1 }, { look_around, 1 },
	{ be_a_driver, 3 }, {},
};
