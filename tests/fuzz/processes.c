/* SPDX-License-Identifier: MIT */
/*
 * Calls of the fuzzer: children, and files sent to other workers.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/dmabuf_sync.h>

#include "worker.h"

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

static void nap(void)
{
	usleep(below(8000));
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
		execl("/proc/self/exe", "worker", NULL);
	_exit(0);
}

const struct call process_calls[] = {
	{ send_file, 2 }, { receive_file, 3 }, { nap, 1 }, { have_a_child, 1 }, {},
};
