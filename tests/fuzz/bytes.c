/* SPDX-License-Identifier: MIT */
/*
 * Calls of the fuzzer: any bytes as the argument of any ioctl.
 */
#define _GNU_SOURCE
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/dmabuf_sync.h>
#include <linux/vblit.h>
#include <linux/vdisplay.h>
#include <linux/vdmabuf.h>

#include "worker.h"

static int the_control(void)
{
	return control;
}

static int the_exporter(void)
{
	return exporter;
}

static int the_display(void)
{
	return display;
}

static int a_blitter(void)
{
	return file_of(&blitters);
}

static int a_job(void)
{
	return file_of(&jobs);
}

/* Which file is asked, and where the file descriptors are that go in and come out. */
static const struct {
	unsigned long request;
	int (*file)(void);
	int in, out;
} ioctls[] = {
	{ DMABUF_SYNC_IOC_QUERY, the_control, -1, -1 },
	{ DMABUF_SYNC_IOC_CREATE, the_control, -1, offsetof(struct dmabuf_sync_create, fd) },
	{ DMABUF_SYNC_IOC_TIMED_LOCK, the_control, offsetof(struct dmabuf_sync_timed_lock, fd), -1 },
	{ DMABUF_SYNC_IOC_ADD, sync_object, offsetof(struct dmabuf_sync_add, fd), -1 },
	{ DMABUF_SYNC_IOC_REMOVE, sync_object, offsetof(struct dmabuf_sync_remove, fd), -1 },
	{ DMABUF_SYNC_IOC_LOCK, sync_object, -1, -1 },
	{ DMABUF_SYNC_IOC_INFO, sync_object, -1, -1 },
	{ DMABUF_SYNC_IOC_JOB_INFO, a_job, -1, -1 },
	{ DMABUF_SYNC_IOC_JOB_SYNC_FILE, a_job, -1,
	  offsetof(struct dmabuf_sync_job_sync_file, fd) },
	{ VDMABUF_IOC_QUERY, the_exporter, -1, -1 },
	{ VDMABUF_IOC_ALLOC, the_exporter, -1, offsetof(struct vdmabuf_alloc, fd) },
	{ VDMABUF_IOC_FROM_MEMFD, the_exporter, -1, offsetof(struct vdmabuf_from_memfd, fd) },
	{ VBLIT_IOC_QUERY, a_blitter, -1, -1 },
	{ VBLIT_IOC_SUBMIT, a_blitter, offsetof(struct vblit_submit, dst_fd),
	  offsetof(struct vblit_submit, job_fd) },
	{ VDISPLAY_IOC_FLIP, the_display, offsetof(struct vdisplay_flip, fd), -1 },
};

/* More zeroes than anything else: most pads and flags have to be. */
static uint32_t a_word(void)
{
	switch (below(8)) {
	case 0:
		return rnd();
	case 1:
		return below(2) ? UINT32_MAX : 1u << below(32);
	case 2:
		return 1 + below(8);
	case 3:
		return below(17) * PAGE;
	default:
		return 0;
	}
}

static void any_bytes(void)
{
	union { uint32_t words[64]; unsigned char bytes[256]; } argument;
	int which = below(LENGTH(ioctls)), at, fd;

	for (int i = 0; i < LENGTH(argument.words); i++)
		argument.words[i] = a_word();
	if (!below(4))
		argument.bytes[below(_IOC_SIZE(ioctls[which].request))] = rnd();
	at = ioctls[which].in;
	if (at >= 0 && below(8)) {
		fd = buffer();
		memcpy(argument.bytes + at, &fd, sizeof(fd));
	}
	if (ioctl(ioctls[which].file(), ioctls[which].request, &argument))
		return;
	/* It may show frames that take seconds: nobody would get at the buffer. */
	if (ioctls[which].request == VDISPLAY_IOC_FLIP)
		another_display();
	at = ioctls[which].out;
	if (at >= 0) {
		memcpy(&fd, argument.bytes + at, sizeof(fd));
		close(fd);
	}
}

/* A number that may be nobody's, to any of the files. */
static void any_number(void)
{
	unsigned char argument[256] = {};
	int which = below(LENGTH(ioctls));

	ioctl(ioctls[which].file(), _IOC(below(4), 0xA8, below(256), below(sizeof(argument))),
	      argument);
}

const struct call byte_calls[] = {
	{ any_bytes, 15 }, { any_number, 2 }, {},
};
