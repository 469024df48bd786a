/* SPDX-License-Identifier: MIT */
/*
 * The C side of dmabuf_sync._uapi: the headers that _decl.h names things from,
 * and the few system calls as functions with fixed arguments. cffi gives the
 * GIL up around each of them. They return a negative errno on failure: errno
 * itself may be another call's by the time Python looks, as a signal handler
 * can run in between.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <linux/sync_file.h>
#include <linux/udmabuf.h>

#include <linux/dmabuf_sync.h>
#include <linux/vblit.h>
#include <linux/vdisplay.h>
#include <linux/vdmabuf.h>

static int uapi_ioctl(int fd, unsigned long request, void *arg)
{
	int result = ioctl(fd, request, arg);

	return result < 0 ? -errno : result;
}

static int uapi_fcntl_lock(int fd, int command, struct flock *lock)
{
	return fcntl(fd, command, lock) < 0 ? -errno : 0;
}

/* glibc has it since 2.36. */
static int uapi_pidfd_getfd(int pidfd, int fd)
{
	int result = syscall(SYS_pidfd_getfd, pidfd, fd, 0);

	return result < 0 ? -errno : result;
}

static int uapi_mmap(void **address, size_t length, int protection, int fd, int64_t offset)
{
	*address = mmap(NULL, length, protection, MAP_SHARED, fd, offset);
	return *address == MAP_FAILED ? -errno : 0;
}

static int uapi_munmap(void *address, size_t length)
{
	return munmap(address, length) < 0 ? -errno : 0;
}

static pthread_once_t interrupt_once = PTHREAD_ONCE_INIT;
static int interrupt_signal = -1;

static void interrupt_nothing(int signal)
{
	(void)signal;
}

static void interrupt_install(void)
{
	struct sigaction now, nothing = { .sa_handler = interrupt_nothing };
	int number;

	for (number = SIGRTMAX; number >= SIGRTMIN; number--) {
		if (sigaction(number, NULL, &now) || now.sa_handler != SIG_DFL)
			continue;
		if (!sigaction(number, &nothing, NULL)) {
			interrupt_signal = number;
			return;
		}
	}
}

/*
 * A signal that does nothing but end a system call with EINTR (no SA_RESTART):
 * the last real-time signal that nobody in this process handles, or -1.
 * Claimed at the first call, for the life of the process.
 */
static int uapi_interrupt_signal(void)
{
	pthread_once(&interrupt_once, interrupt_install);
	return interrupt_signal;
}
