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
 *
 * What it calls is in locks.c, devices.c, bytes.c and processes.c.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "worker.h"

struct files syncs, jobs, fences, blitters;
int buffers[MAX_FDS], buffer_count;
int shared[MAX_FDS], shared_count;
int control, exporter, display, mail;
static _Thread_local uint64_t state;

/* xorshift64* */
uint64_t rnd(void)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * 2685821657736338717ULL;
}

unsigned int below(unsigned int n)
{
	return (rnd() >> 33) % n;
}

int buffer(void)
{
	return buffers[below(buffer_count)];
}

int file_of(const struct files *files)
{
	int count = files->count;

	return count > 0 ? files->fd[below(count) % KEPT] : -1;
}

int sync_object(void)
{
	return below(2) ? file_of(&syncs) : shared[below(shared_count)];
}

void keep(struct files *files, int fd)
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

static const struct call * const groups[] = { lock_calls, device_calls, byte_calls, process_calls };

static int total_weight(void)
{
	const struct call *call;
	int sum = 0;

	for (int i = 0; i < LENGTH(groups); i++)
		for (call = groups[i]; call->make; call++)
			sum += call->weight;
	return sum;
}

void make_a_call(void)
{
	const struct call *call;
	static int total;
	int left;

	if (!total)
		total = total_weight();
	left = below(total);
	for (int i = 0; i < LENGTH(groups); i++) {
		for (call = groups[i]; call->make; call++) {
			if (left < call->weight) {
				call->make();
				return;
			}
			left -= call->weight;
		}
	}
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

	/* Also what a child comes to that executes another program: this one. */
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
