/* SPDX-License-Identifier: MIT */
/*
 * A process of the fuzzer: two threads make calls at random.
 *
 *	worker SEED CALLS COUNTERS-FD MAIL-FD NSHARED SHARED-FD... BUFFER-FD...
 *
 * What it calls follows from SEED; how its calls meet those of others is up to the
 * scheduler. Errors of the kernel are part of the game. COUNTERS-FD is memory with a
 * u64 for each thread that counts its calls, also if it is killed. Sync objects
 * SHARED-FD and dma-bufs BUFFER-FD are shared with other workers; the last buffer is
 * replaced by those of its own.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/dma-buf.h>
#include <linux/dmabuf_sync.h>
#include <linux/vblit.h>
#include <linux/vdisplay.h>
#include <linux/vdmabuf.h>

#define PAGE 4096
#define SIZE 65536
#define KEPT 6
#define MAX_FDS 16
#define LENGTH(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* tests/module/dsync_test.h */
struct driver_call { int32_t fd, value; };
#define DRIVER(nr) _IOW(0xA8, nr, struct driver_call)
#define DRIVER_QUICK (1 << 3)

struct files { int fd[KEPT]; int count; };

static int buffers[MAX_FDS], buffer_count;
static int shared[MAX_FDS], shared_count;
static int control, exporter, display, mail;
/* Both threads use them without locks: files that are gone are part of the game. */
static struct files syncs, jobs, fences, blitters;
static _Thread_local uint64_t state;

/* xorshift64* */
static uint64_t rnd(void)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * 2685821657736338717ULL;
}

static unsigned int below(unsigned int n)
{
	return (rnd() >> 33) % n;
}

#define PICK(...) ((const int64_t[]){ __VA_ARGS__ }[below(LENGTH(((const int64_t[]){ __VA_ARGS__ })))])

static int buffer(void)
{
	return buffers[below(buffer_count)];
}

static int file_of(const struct files *files)
{
	int count = files->count;

	return count > 0 ? files->fd[below(count) % KEPT] : -1;
}

static int sync_object(void)
{
	return below(2) ? file_of(&syncs) : shared[below(shared_count)];
}

static void keep(struct files *files, int fd)
{
	int count = files->count;

	if (fd < 0)
		return;
	if (count >= KEPT) {
		int at = below(KEPT);
		int old = files->fd[at];

		files->fd[at] = fd;
		close(old);
		return;
	}
	files->fd[count] = fd;
	files->count = count + 1;
}

static int64_t soon(void)
{
	struct timespec now;

	switch (below(6)) {
	case 0:
		return 0;
	case 1:
		return 1;
	case 2:
		return DMABUF_SYNC_NO_TIMEOUT;
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec + below(5000000);
}

static int64_t place(void)
{
	if (!below(20))
		return PICK(INT64_MIN, -1, 1, PAGE - 1, SIZE + 1, INT64_MAX);
	return below(17) * PAGE;
}

static void posix_lock(void)
{
	struct flock lock = {
		.l_type = PICK(F_RDLCK, F_WRLCK, F_UNLCK),
		.l_whence = PICK(SEEK_SET, SEEK_SET, SEEK_SET, SEEK_CUR, SEEK_END),
		.l_start = place(),
		.l_len = place(),
	};

	fcntl(buffer(), PICK(F_SETLK, F_SETLKW, F_SETLKW, F_SETLK, F_OFD_SETLK, F_OFD_SETLKW), &lock);
}

static void getlk(void)
{
	struct flock lock = {
		.l_type = PICK(F_RDLCK, F_WRLCK, F_UNLCK), .l_start = place(), .l_len = PAGE,
	};

	fcntl(buffer(), PICK(F_GETLK, F_OFD_GETLK), &lock);
}

static void unlock_all(void)
{
	struct flock lock = { .l_type = F_UNLCK };

	fcntl(buffer(), PICK(F_SETLK, F_SETLK, F_OFD_SETLK), &lock);
}

static void close_a_copy(void)
{
	close(dup(buffer()));
}

static void timed_lock(void)
{
	struct dmabuf_sync_timed_lock lock = {
		.fd = buffer(),
		.access = PICK(1, 1, 2, 2, 2, 3),
		.start = below(16) * PAGE,
		.timeout_ns = soon(),
		.hold_timeout_ms = PICK(0, 1, 3, 100000),
	};

	lock.length = PICK(0, SIZE - lock.start, 1);
	ioctl(control, DMABUF_SYNC_IOC_TIMED_LOCK, &lock);
}

static void create(void)
{
	struct dmabuf_sync_create request = { .name = "fuzz", .flags = PICK(0, 0, 1) };

	if (!ioctl(control, DMABUF_SYNC_IOC_CREATE, &request))
		keep(&syncs, request.fd);
}

static void add(void)
{
	struct dmabuf_sync_add request = {
		.fd = buffer(),
		.access = PICK(1, 1, 2, 2, 3, 5, 6, 7, 8),
		.offset = PICK(0, 0, PAGE, below(17) * PAGE),
		.length = PICK(0, PAGE, SIZE),
	};

	ioctl(sync_object(), DMABUF_SYNC_IOC_ADD, &request);
}

static void take_out(void)
{
	struct dmabuf_sync_remove request = { .fd = buffer() };

	ioctl(sync_object(), DMABUF_SYNC_IOC_REMOVE, &request);
}

static void sync_lock(void)
{
	struct dmabuf_sync_lock request = {
		.flags = PICK(0, 0, 1, 2, 2), .timeout_ns = soon(), .hold_timeout_ms = PICK(0, 1, 3),
	};

	if (request.flags == 2)
		request.timeout_ns = DMABUF_SYNC_NO_TIMEOUT;
	ioctl(sync_object(), DMABUF_SYNC_IOC_LOCK, &request);
}

static void sync_unlock(void)
{
	ioctl(sync_object(), DMABUF_SYNC_IOC_UNLOCK);
}

static void sync_info(void)
{
	struct dmabuf_sync_info info;

	ioctl(sync_object(), DMABUF_SYNC_IOC_INFO, &info);
}

static void wait_a_little(void)
{
	struct pollfd files[] = {
		{ .fd = sync_object(), .events = POLLIN },
		{ .fd = buffer(), .events = POLLIN | POLLOUT },
		{ .fd = file_of(&jobs), .events = POLLIN | POLLOUT },
	};

	poll(files, LENGTH(files), below(2));
}

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

static void flip(void)
{
	struct vdisplay_flip request = {
		.fd = below(3) ? buffer() : -1, .flags = below(2), .period_us = PICK(0, 1000, 3000),
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

static void another_display(void)
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

/* Not the last buffer: a strict one kills who touches it without a lock. */
static void map_and_touch(void)
{
	char *bytes = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			   buffers[below(buffer_count - 1)], 0);

	if (bytes == MAP_FAILED)
		return;
	if (below(2))
		bytes[below(SIZE)] = 1;
	munmap(bytes, SIZE);
}

static void send_file(void)
{
	int fd = below(2) ? file_of(&syncs) : buffer();
	union { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int))]; } control_data = {};
	struct iovec byte = { .iov_base = "x", .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &byte, .msg_iovlen = 1,
		.msg_control = &control_data, .msg_controllen = sizeof(control_data),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	sendmsg(mail, &message, MSG_DONTWAIT);
}

/* A sync object is used from now on; all else is closed, which may unlock something. */
static void receive_file(void)
{
	union { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int))]; } control_data = {};
	struct dmabuf_sync_info info;
	char data;
	struct iovec byte = { .iov_base = &data, .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &byte, .msg_iovlen = 1,
		.msg_control = &control_data, .msg_controllen = sizeof(control_data),
	};
	struct cmsghdr *header;
	int fd;

	if (recvmsg(mail, &message, MSG_DONTWAIT) < 0)
		return;
	header = CMSG_FIRSTHDR(&message);
	if (!header)
		return;
	memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	if (ioctl(fd, DMABUF_SYNC_IOC_INFO, &info))
		close(fd);
	else
		keep(&syncs, fd);
}

static void write_parameter(void)
{
	static const char * const names[] = { "hold_timeout_ms", "max_hold_timeout_ms" };
	static const char * const values[] = { "2", "5", "20", "0", "-1", "x" };
	const char *value = values[below(LENGTH(values))];
	char path[80];
	int fd;

	snprintf(path, sizeof(path), "/sys/module/dmabuf_sync/parameters/%s", names[below(2)]);
	fd = open(path, O_WRONLY | O_CLOEXEC);
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
	case 2: {
		int one = buffer();

		if (!driver(fd, 0xCC, one, PICK(1, 2, 5, 6) | (int)below(2) << 16))
			driver(fd, 0xCD, one, 0);
	}
	}
	close(fd);
}

static void nap(void)
{
	usleep(below(8000));
}

static void have_a_child(void);

static const struct { void (*make)(void); int weight; } calls[] = {
	{ posix_lock, 45 }, { getlk, 8 }, { unlock_all, 14 }, { close_a_copy, 3 }, { timed_lock, 12 },
	{ create, 6 }, { add, 16 }, { take_out, 5 }, { sync_lock, 22 }, { sync_unlock, 22 },
	{ sync_info, 4 }, { wait_a_little, 4 }, { submit, 14 }, { look_at_job, 6 },
	{ another_blitter, 2 }, { flip, 6 }, { read_display, 3 }, { another_display, 1 },
	{ cpu_access, 5 }, { implicit_fences, 5 }, { replace_buffer, 4 }, { map_and_touch, 3 },
	{ send_file, 2 }, { receive_file, 3 }, { write_parameter, 1 }, { look_around, 1 },
	{ be_a_driver, 3 }, { nap, 1 }, { have_a_child, 1 },
};

static void make_a_call(void)
{
	static int total;
	int i, left;

	if (!total) {
		int sum = 0;

		for (i = 0; i < LENGTH(calls); i++)
			sum += calls[i].weight;
		total = sum;
	}
	left = below(total);
	for (i = 0; left >= calls[i].weight; i++)
		left -= calls[i].weight;
	calls[i].make();
}

/* It does something with what it inherits, and ends in one of several ways. */
static void have_a_child(void)
{
	pid_t child = fork();

	if (child > 0) {
		while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
			;
		return;
	}
	if (child < 0)
		return;
	/* Timers are not inherited: nothing may wait for ever. */
	alarm(1);
	for (int left = below(8); left; left--)
		make_a_call();
	if (!below(3))
		kill(getpid(), SIGKILL);
	if (!below(2))
		execl("/bin/true", "true", NULL);
	_exit(0);
}

static void interrupt(int number)
{
}

struct thread { uint64_t seed, calls, *counter; };

static void *work(void *argument)
{
	struct thread *thread = argument;
	struct itimerspec interval = {};
	struct sigevent event = {
		.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM,
	};
	timer_t timer;

	event._sigev_un._tid = syscall(SYS_gettid);
	state = thread->seed;
	interval.it_interval.tv_nsec = interval.it_value.tv_nsec = 1000000 * (10 + below(50));
	if (!timer_create(CLOCK_MONOTONIC, &event, &timer))
		timer_settime(timer, 0, &interval, NULL);
	for (uint64_t i = 0; i < thread->calls; i++) {
		++*thread->counter;
		make_a_call();
	}
	return NULL;
}

int main(int argc, char **argv)
{
	/* No SA_RESTART: who waits for long gives up. */
	struct sigaction action = { .sa_handler = interrupt };
	struct rlimit limit = { 64, 64 };
	struct thread threads[2];
	uint64_t seed, *counters;
	pthread_t other;
	int i;

	if (argc < 9)
		return 2;
	seed = strtoull(argv[1], NULL, 0) * 0x9E3779B97F4A7C15ULL | 1;
	counters = mmap(NULL, 16, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(argv[3]), 0);
	if (counters == MAP_FAILED)
		return 2;
	mail = atoi(argv[4]);
	shared_count = atoi(argv[5]);
	for (i = 6; i < argc; i++) {
		int fd = atoi(argv[i]);

		fcntl(fd, F_SETFD, FD_CLOEXEC);
		if (i < 6 + shared_count)
			shared[i - 6] = fd;
		else
			buffers[buffer_count++] = fd;
	}
	exporter = open("/dev/vdmabuf", O_RDWR | O_CLOEXEC);
	control = open("/dev/dmabuf_sync", O_RDWR | O_CLOEXEC);
	display = open("/dev/vdisplay", O_RDWR | O_CLOEXEC);
	keep(&blitters, open("/dev/vblit", O_RDWR | O_CLOEXEC));
	if (exporter < 0 || control < 0 || display < 0)
		return 2;
	sigaction(SIGALRM, &action, NULL);
	state = seed;
	if (!below(4))
		setrlimit(RLIMIT_NOFILE, &limit);
	for (i = 0; i < 2; i++)
		threads[i] = (struct thread) {
			.seed = rnd() | 1, .calls = strtoull(argv[2], NULL, 0), .counter = &counters[i],
		};
	if (pthread_create(&other, NULL, work, &threads[1]))
		return 2;
	work(&threads[0]);
	pthread_join(other, NULL);
	return 0;
}
