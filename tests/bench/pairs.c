// SPDX-License-Identifier: MIT
/*
 * What taking and giving back a lock costs: pairs DMABUF...
 *
 * Prints a line of JSON for each way: its name, and the nanoseconds of one pair. The dma-bufs are
 * inherited file descriptors, at least SET of them.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/dma-buf.h>
#include <linux/dmabuf_sync.h>

#define SET 64
#define WARM_UP 200
#define PAIRS 2000

static int buffers[SET], files[SET], events[2];

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ull + time.tv_nsec;
}

/* Hand-overs are two a turn: one there and one back. */
static void measure(const char *name, void (*turn)(int), int argument, int pairs_a_turn)
{
	uint64_t start;
	int i;

	for (i = 0; i < WARM_UP; i++)
		turn(argument);
	start = now();
	for (i = 0; i < PAIRS; i++)
		turn(argument);
	printf("{\"name\": \"%s\", \"ns\": %.0f}\n", name,
	       (double)(now() - start) / PAIRS / pairs_a_turn);
	fflush(stdout);
}

static void set_lock(int fd, short type)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET };

	if (fcntl(fd, F_SETLKW, &lock))
		err(1, "fcntl");
}

static void cpu_access(int fd, uint64_t flags)
{
	struct dma_buf_sync sync = { .flags = DMA_BUF_SYNC_RW | flags };

	if (ioctl(fd, DMA_BUF_IOCTL_SYNC, &sync))
		err(1, "DMA_BUF_IOCTL_SYNC");
}

static void system_calls(int unused)
{
	syscall(SYS_getppid);
	syscall(SYS_getppid);
}

static void flock_pair(int fd)
{
	flock(fd, LOCK_EX);
	flock(fd, LOCK_UN);
}

static void lock_pair(int fd)
{
	set_lock(fd, F_WRLCK);
	set_lock(fd, F_UNLCK);
}

static void access_pair(int fd)
{
	cpu_access(fd, DMA_BUF_SYNC_START);
	cpu_access(fd, DMA_BUF_SYNC_END);
}

/* What a careful program does without dmabuf-sync: lock a file that stands for the buffer. */
static void careful_pair(int fd)
{
	set_lock(files[0], F_WRLCK);
	access_pair(fd);
	set_lock(files[0], F_UNLCK);
}

static void files_in_turn(int count)
{
	int i;

	for (i = 0; i < count; i++)
		set_lock(files[i], F_WRLCK);
	for (i = 0; i < count; i++)
		set_lock(files[i], F_UNLCK);
}

static void set_pair(int set)
{
	struct dmabuf_sync_lock lock = { 0 };

	if (ioctl(set, DMABUF_SYNC_IOC_LOCK, &lock) || ioctl(set, DMABUF_SYNC_IOC_UNLOCK))
		err(1, "sync object");
}

static int make_set(int control, int count)
{
	struct dmabuf_sync_create create = { .name = "bench" };
	int i;

	if (ioctl(control, DMABUF_SYNC_IOC_CREATE, &create))
		err(1, "DMABUF_SYNC_IOC_CREATE");
	for (i = 0; i < count; i++) {
		struct dmabuf_sync_add add = {
			.fd = buffers[i],
			.access = DMABUF_SYNC_READ | DMABUF_SYNC_WRITE,
		};

		if (ioctl(create.fd, DMABUF_SYNC_IOC_ADD, &add))
			err(1, "DMABUF_SYNC_IOC_ADD");
	}
	return create.fd;
}

static void answer_event(int unused)
{
	uint64_t value;

	if (read(events[0], &value, sizeof(value)) < 0 ||
	    write(events[1], &value, sizeof(value)) < 0)
		err(1, "eventfd");
}

static void event_there_and_back(int unused)
{
	uint64_t value = 1;

	if (write(events[0], &value, sizeof(value)) < 0 ||
	    read(events[1], &value, sizeof(value)) < 0)
		err(1, "eventfd");
}

/* Somebody does the same over and over: who gives the buffer back gives it to the other. */
static pid_t partner(void (*turn)(int), int argument)
{
	pid_t pid = fork();

	if (pid < 0)
		err(1, "fork");
	while (pid == 0)
		turn(argument);
	return pid;
}

static void hand_over(const char *name, void (*theirs)(int), void (*ours)(int), int argument)
{
	pid_t pid = partner(theirs, argument);

	measure(name, ours, argument, 2);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

int main(int argc, char **argv)
{
	int control, i;

	if (argc <= SET)
		errx(2, "give %d dma-bufs", SET);
	for (i = 0; i < SET; i++) {
		buffers[i] = atoi(argv[i + 1]);
		files[i] = memfd_create("plain", MFD_CLOEXEC);
		if (files[i] < 0)
			err(1, "memfd_create");
	}
	control = open("/dev/dmabuf_sync", O_RDWR | O_CLOEXEC);
	if (control < 0)
		err(1, "/dev/dmabuf_sync");

	measure("two system calls", system_calls, 0, 1);
	measure("flock", flock_pair, files[0], 1);
	measure("posix", lock_pair, files[0], 1);
	measure("SYNC", access_pair, buffers[0], 1);
	measure("posix and SYNC", careful_pair, buffers[0], 1);
	measure("fcntl", lock_pair, buffers[0], 1);
	measure("sync object", set_pair, make_set(control, 1), 1);
	measure("64 posix", files_in_turn, SET, 1);
	measure("sync object of 64", set_pair, make_set(control, SET), 1);

	events[0] = eventfd(0, EFD_CLOEXEC);
	events[1] = eventfd(0, EFD_CLOEXEC);
	if (events[0] < 0 || events[1] < 0)
		err(1, "eventfd");
	hand_over("eventfd hand-over", answer_event, event_there_and_back, 0);
	hand_over("fcntl hand-over", lock_pair, lock_pair, buffers[0]);
	return 0;
}
