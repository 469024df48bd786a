/* SPDX-License-Identifier: MIT */
/*
 * The fuzzer's worker: what its files share.
 */
#ifndef WORKER_H
#define WORKER_H

#include <stdint.h>

#define PAGE 4096
#define SIZE 65536
#define KEPT 6
#define MAX_FDS 16
#define LENGTH(array) ((int)(sizeof(array) / sizeof((array)[0])))
#define PICK(...) ((const int64_t[]){ __VA_ARGS__ }[below(LENGTH(((const int64_t[]){ __VA_ARGS__ })))])

/* A kind of call, and how often it is made in comparison with others. */
struct call { void (*make)(void); int weight; };

extern const struct call lock_calls[], device_calls[], byte_calls[], process_calls[];

struct files { int fd[KEPT]; int count; };

/* Both threads use these without locks: files that are gone are part of the game. */
extern struct files syncs, jobs, fences, blitters;
extern int buffers[MAX_FDS], buffer_count;
extern int shared[MAX_FDS], shared_count;
extern int control, exporter, display, mail;

/* worker.c */
uint64_t rnd(void);
unsigned int below(unsigned int n);
int buffer(void);
int file_of(const struct files *files);
int sync_object(void);
void keep(struct files *files, int fd);
void make_a_call(void);

/* devices.c */
void another_display(void);

#endif /* WORKER_H */
