/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dsync_test: what its files share.
 */
#ifndef DSYNC_TEST_H
#define DSYNC_TEST_H

#include <linux/bits.h>
#include <linux/dma-buf.h>
#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/timer.h>
#include <linux/wait.h>

#include <linux/dmabuf-sync.h>

#include "../../kernel/compat.h"

/**
 * struct dsync_test_call - argument of every ioctl
 * @fd: (in) a dma-buf, or the number of one of the reservation objects of the module
 * @value: (in) access type, direction, errno or flags
 */
struct dsync_test_call {
	__s32 fd;
	__s32 value;
};

/**
 * struct dsync_test_state - what the callbacks of a client have seen
 * @prepared: (out) how often each of them was called
 * @granted: (out) "
 * @started: (out) "
 * @stopped: (out) "
 * @finished: (out) "
 * @freed: (out) "
 * @grant_error: (out) what the callback of dmabuf_sync_submit() was told last
 * @order: (out) initials of the callbacks in the order in which they came
 * @in_begin: (out) calls of begin_cpu_access that are running, whoever made them
 * @in_end: (out) of end_cpu_access
 */
struct dsync_test_state {
	__u32 prepared;
	__u32 granted;
	__u32 started;
	__u32 stopped;
	__u32 finished;
	__u32 freed;
	__s32 grant_error;
	char order[36];
	__u32 in_begin;
	__u32 in_end;
};

/**
 * struct dsync_test_hooks - calls of the hooks of an exporter
 * @calls: (out) a line each: begin, end or released, the first byte, the last, the direction
 */
struct dsync_test_hooks {
	char calls[1024];
};

/* DSYNC_TEST_INIT: which callbacks, and what they do */
#define DSYNC_TEST_NO_OPS	BIT(0)	/* none at all */
#define DSYNC_TEST_NO_STOP	BIT(1)	/* all but stop */
#define DSYNC_TEST_BAD_PREPARE	BIT(2)	/* prepare fails with ENOSPC */
#define DSYNC_TEST_QUICK	BIT(3)	/* start ends the job before it returns */
#define DSYNC_TEST_SLOW_START	BIT(4)	/* start takes its time */
#define DSYNC_TEST_QUEUES	BIT(5)	/* the test says when the hardware begins */

/* DSYNC_TEST_SINGLE_LOCK: beside the access type */
#define DSYNC_TEST_WAIT		BIT(16)
#define DSYNC_TEST_TIDY		BIT(17)	/* unlock it when the file is closed, and not before */

/* DSYNC_TEST_GET_RANGE and DSYNC_TEST_MAY_ACCESS: pages, beside the type or "for writing" */
#define DSYNC_TEST_FIRST(value)		(((value) >> 8) & 0xff)
#define DSYNC_TEST_PAGES(value)		(((value) >> 16) & 0xff)

/* The functions of linux/dmabuf-sync.h, one by one; they return what those return. */
#define DSYNC_TEST(nr)			_IOW(0xA8, nr, struct dsync_test_call)
#define DSYNC_TEST_IS_SUPPORTED		DSYNC_TEST(0xC0)
#define DSYNC_TEST_INIT			DSYNC_TEST(0xC1)
#define DSYNC_TEST_HOLD			DSYNC_TEST(0xC2)
#define DSYNC_TEST_FINI			DSYNC_TEST(0xC3)
#define DSYNC_TEST_FLUSH		DSYNC_TEST(0xC4)
#define DSYNC_TEST_GET			DSYNC_TEST(0xC5)
#define DSYNC_TEST_GET_RESV		DSYNC_TEST(0xC6)
#define DSYNC_TEST_PUT			DSYNC_TEST(0xC7)
#define DSYNC_TEST_PUT_ALL		DSYNC_TEST(0xC8)
#define DSYNC_TEST_LOCK			DSYNC_TEST(0xC9)
#define DSYNC_TEST_TRYLOCK		DSYNC_TEST(0xCA)
#define DSYNC_TEST_UNLOCK		DSYNC_TEST(0xCB)
#define DSYNC_TEST_SINGLE_LOCK		DSYNC_TEST(0xCC)
#define DSYNC_TEST_SINGLE_UNLOCK	DSYNC_TEST(0xCD)
#define DSYNC_TEST_SUBMIT		DSYNC_TEST(0xCE)
#define DSYNC_TEST_DONE			DSYNC_TEST(0xCF)
#define DSYNC_TEST_CANCEL		DSYNC_TEST(0xD0)
#define DSYNC_TEST_WAIT_GRANTED		DSYNC_TEST(0xD1)
#define DSYNC_TEST_WAIT_DONE		DSYNC_TEST(0xD2)
#define DSYNC_TEST_FENCE		DSYNC_TEST(0xD3)	/* returns a sync_file */
#define DSYNC_TEST_JOB_FILE		DSYNC_TEST(0xD4)	/* returns the file */
#define DSYNC_TEST_START_DMA		DSYNC_TEST(0xD5)
#define DSYNC_TEST_END_DMA		DSYNC_TEST(0xD6)
#define DSYNC_TEST_REGISTER		DSYNC_TEST(0xD7)
#define DSYNC_TEST_UNREGISTER		DSYNC_TEST(0xD8)
#define DSYNC_TEST_GET_RANGE		DSYNC_TEST(0xD9)
#define DSYNC_TEST_ADD_FENCE		DSYNC_TEST(0xDA)	/* fd is a sync_file */
#define DSYNC_TEST_SET_DEVICE		DSYNC_TEST(0xDB)	/* 0 for none, 1 or 2 */
#define DSYNC_TEST_SET_EXPLICIT		DSYNC_TEST(0xDC)
#define DSYNC_TEST_RUNNING		DSYNC_TEST(0xDD)
#define DSYNC_TEST_WAIT_GRANTED_KILLABLE	DSYNC_TEST(0xDE)
#define DSYNC_TEST_MAY_ACCESS		DSYNC_TEST(0xDF)	/* returns 0 or 1 */
/* Around them. */
#define DSYNC_TEST_OVERDUE		DSYNC_TEST(0xE6)	/* returns 0 or 1 */
#define DSYNC_TEST_ADD_MOVE		DSYNC_TEST(0xE5)	/* fd is a sync_file */
#define DSYNC_TEST_DONE_SOFTIRQ		DSYNC_TEST(0xE0)	/* done, from a timer */
#define DSYNC_TEST_WAIT_STARTED		DSYNC_TEST(0xE1)
#define DSYNC_TEST_STATE		_IOR(0xA8, 0xE3, struct dsync_test_state)
#define DSYNC_TEST_HOOKS		_IOR(0xA8, 0xE4, struct dsync_test_hooks)

/**
 * struct client - an open file: a driver with one sync object
 * @ref: the file, and the callbacks' sync object until ops->free
 * @sync: object, between INIT and FINI
 * @ops: callbacks of @sync
 * @flags: DSYNC_TEST_NO_OPS and so on
 * @extra: references by HOLD
 * @locked: by LOCK or TRYLOCK; undone if the file is closed
 * @single: by SINGLE_LOCK with DSYNC_TEST_TIDY, with a reference; undone if the file is closed
 * @closing: the file is closed: let no job run
 * @running: the sync object between start and finish, under @wait.lock
 * @state: what the callbacks have seen, under @wait.lock
 * @wait: for @state.started
 * @timer: calls dmabuf_sync_done()
 * @timer_err: with this error
 * @attach: between START_DMA and END_DMA
 * @sgt: its mapping
 */
struct client {
	struct kref ref;
	struct dmabuf_sync *sync;
	struct dmabuf_sync_ops ops;
	unsigned int flags;
	unsigned int extra;
	bool locked;
	struct dma_buf *single;
	bool closing;
	struct dmabuf_sync *running;
	struct dsync_test_state state;
	wait_queue_head_t wait;
	struct timer_list timer;
	int timer_err;
	struct dma_buf_attachment *attach;
	struct sg_table *sgt;
};

extern struct device *dsync_test_device;

/* client.c */
struct client *client_open(void);
void client_put(struct client *client);
void client_close(struct client *client);
long client_init(struct client *client, unsigned int flags);
long client_fini(struct client *client);
long client_call(struct client *client, unsigned int cmd, const struct dsync_test_call *call);

/* job.c */
void job_init_ops(struct client *client);
void job_init(struct client *client);
long job_call(struct client *client, unsigned int cmd, const struct dsync_test_call *call);
void job_close(struct client *client);

/* hooks.c */
int hooks_register(void);
void hooks_unregister(void);
void hooks_take(struct dsync_test_hooks *taken);

/* exporter.c, a module of its own */
#define EXPORTER_RESVS 4
#define DSYNC_EXPORTER_EXPORT		DSYNC_TEST(0xE2)	/* on resv number fd */

/* What it exports: without cache maintenance, with it, with hooks of dsync_test beside it. */
#define EXPORTER_PLAIN	0
#define EXPORTER_CACHED	1
#define EXPORTER_HOOKED	2

struct dma_resv *dsync_exporter_resv(unsigned int index);
const struct dma_buf_ops *dsync_exporter_hooked_ops(void);
u32 dsync_exporter_in_begin(void);
u32 dsync_exporter_in_end(void);

#endif /* DSYNC_TEST_H */
