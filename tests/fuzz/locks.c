/* SPDX-License-Identifier: MIT */
/*
 * Calls of the fuzzer: locks by fcntl(), sync objects.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <linux/dmabuf_sync.h>

#include "worker.h"

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

/* What is not for a dma-buf, or not at all. */
static void odd_fcntl(void)
{
	struct flock lock = {
		.l_type = PICK(F_RDLCK, F_WRLCK, F_UNLCK, 3, -1),
		.l_whence = below(4),
		.l_start = place(),
		.l_len = -place(),
		.l_pid = below(2),
	};
	int fd = buffer();

	switch (below(5)) {
	case 0:
		fcntl(fd, PICK(F_SETLK, F_SETLKW, F_GETLK, F_OFD_SETLK, F_OFD_SETLKW, F_OFD_GETLK),
		      &lock);
		break;
	case 1:
		fcntl(fd, F_SETLEASE, PICK(F_RDLCK, F_WRLCK, F_UNLCK));
		break;
	case 2:
		if (!flock(fd, LOCK_NB | PICK(LOCK_SH, LOCK_EX)))
			flock(fd, LOCK_UN);
		break;
	case 3:
		fcntl(fd, F_SETFL, PICK(0, O_NONBLOCK));
		break;
	default:
		fcntl(sync_object(), F_SETLK, &lock);
	}
}

/* Closing one gives the posix locks of the process back. */
static void close_a_copy(void)
{
	close(below(2) ? dup(buffer()) : fcntl(buffer(), F_DUPFD_CLOEXEC, 0));
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

const struct call lock_calls[] = {
	{ posix_lock, 45 }, { getlk, 8 }, { unlock_all, 14 }, { odd_fcntl, 4 }, { close_a_copy, 3 },
	{ timed_lock, 12 }, { create, 6 }, { add, 16 }, { take_out, 5 }, { sync_lock, 22 },
	{ sync_unlock, 22 }, { sync_info, 4 }, { wait_a_little, 4 }, {},
};
