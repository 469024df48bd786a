/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmabuf-sync: the sync object.
 */
#ifndef DSYNC_SYNC_H
#define DSYNC_SYNC_H

#include <linux/dma-fence.h>
#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/refcount.h>

#include "dsync.h"
#include "../user_limit.h"

/* lockdep counts the locks of a class that one task holds, up to 2047. */
#define DSYNC_MAX_BUFFERS 1024

/* dmabuf_sync.flags */
#define DSYNC_SYNC_NO_CACHE	BIT(0)
#define DSYNC_SYNC_USER		BIT(1)	/* belongs to a file of /dev/dmabuf_sync */

enum dmabuf_sync_state {
	DSYNC_SYNC_IDLE,	/* buffers may be added and removed */
	DSYNC_SYNC_LOCKING,	/* a thread is in dsync_sync_lock() */
	DSYNC_SYNC_ASYNC,	/* being locked by work items */
	DSYNC_SYNC_LOCKED,
	DSYNC_SYNC_UNLOCKING,
	DSYNC_SYNC_FAILED,	/* an asynchronous lock failed */
	DSYNC_SYNC_JOB,		/* submitted, not done */
};

/**
 * struct dsync_job - DMA that was submitted
 * @state: DMABUF_SYNC_JOB_*; stored with release after all that it tells of
 * @status: error it ended with
 * @times: CLOCK_MONOTONIC ns at which each state was reached
 * @granted: the driver's callback
 * @fence: reference, once granted; stays until the next submit
 * @in_fences: given to the next job, with references, until it is granted
 * @in_fence_count: how many
 * @explicit: the next job does not wait for the fences of other drivers
 * @flags: DSYNC_JOB_STARTED once its driver was told to start it, DSYNC_JOB_ENDED once
 *	somebody has claimed the right to end it
 * @gate: fences before it
 * @user: who has submitted it
 * @grant_work: publish the fence
 * @start_work: start the DMA
 * @finish_work: give the buffers back
 * @watchdog: stop it
 */
struct dsync_job {
	unsigned int state;
	int status;
	u64 times[4];
	dmabuf_sync_granted_t granted;
	struct dma_fence *fence;
	struct dma_fence **in_fences;
	unsigned int in_fence_count;
	bool explicit;
	unsigned long flags;
	struct dsync_gate *gate;
	struct user_count *user;
	struct work_struct grant_work;
	struct work_struct start_work;
	struct work_struct finish_work;
	struct delayed_work watchdog;
};

#define DSYNC_JOB_STARTED 0
#define DSYNC_JOB_ENDED 1

/**
 * struct dmabuf_sync - several buffers locked at once
 * @ref: who knows the memory: creator, job in flight, job files, candidates lists
 * @users: creator and job in flight; ops->free is called when the last is gone
 * @name: for people
 * @ops: the driver's callbacks
 * @priv: for them
 * @flags: DSYNC_SYNC_*
 * @mutex: @state, @request.accesses and the queue pointers in them
 * @state: what may be done now
 * @request: the buffers; request.accesses is ours
 * @capacity: length of request.accesses
 * @user: whose object it is, if it belongs to a file
 * @hold_time: of the lock being taken
 * @error: of an asynchronous lock
 * @wait: poll(), and those who wait for a job
 * @gate: fences an asynchronous lock waits for
 * @granted_work: asynchronous lock: granted, wait for fences
 * @ready_work: asynchronous lock: fences signalled, begin CPU access
 * @job: DMA
 */
struct dmabuf_sync {
	struct kref ref;
	refcount_t users;
	char name[DMABUF_SYNC_NAME_LEN];
	const struct dmabuf_sync_ops *ops;
	void *priv;
	unsigned int flags;
	struct mutex mutex;	/* see above */
	enum dmabuf_sync_state state;
	struct dsync_request request;
	unsigned int capacity;
	struct user_count *user;
	ktime_t hold_time;
	int error;
	wait_queue_head_t wait;
	struct dsync_gate *gate;
	struct work_struct granted_work;
	struct work_struct ready_work;
	struct dsync_job job;
};

enum dsync_lock_mode {
	DSYNC_LOCK_WAIT,
	DSYNC_LOCK_NONBLOCK,
	DSYNC_LOCK_ASYNC,
};

/* sync.c */
void dsync_sync_put(struct dmabuf_sync *sync);
void dsync_sync_put_user(struct dmabuf_sync *sync);
int dsync_sync_add(struct dmabuf_sync *sync, struct dma_buf *dmabuf, struct dma_resv *resv,
		   unsigned int type, loff_t start, loff_t end);
int dsync_sync_attach_queues(struct dmabuf_sync *sync);
void dsync_sync_detach_queues_locked(struct dmabuf_sync *sync, enum dmabuf_sync_state state);
void dsync_sync_detach_queues(struct dmabuf_sync *sync, enum dmabuf_sync_state state);

/* sync_lock.c */
int dsync_sync_acquire(struct dmabuf_sync *sync, enum dsync_lock_mode mode,
		       struct list_head *candidates);
int dsync_sync_begin_cpu(struct dmabuf_sync *sync);
void dsync_sync_complete(struct dmabuf_sync *sync);
int dsync_sync_lock(struct dmabuf_sync *sync, enum dsync_lock_mode mode, ktime_t until,
		    unsigned int hold_timeout_ms);
int dsync_sync_unlock(struct dmabuf_sync *sync);
unsigned int dsync_sync_revoked(struct dmabuf_sync *sync);

/* sync_async.c */
void dsync_async_init(struct dmabuf_sync *sync);
int dsync_async_begin(struct dmabuf_sync *sync, struct list_head *candidates);
void dsync_async_done(struct dmabuf_sync *sync);
void dsync_async_cancel(struct dmabuf_sync *sync);

/* sync_file.c */
struct file *dsync_sync_file_create(const char *name, unsigned int flags);

/* job.c */
void dsync_job_init(struct dmabuf_sync *sync);
void dsync_job_fini(struct dmabuf_sync *sync);
void dsync_job_granted(struct dsync_request *request);

/* job_wait.c */
int dsync_job_state(struct dmabuf_sync *sync);
bool dsync_job_was_submitted(const struct dmabuf_sync *sync);

/* job_fence.c */
struct dma_fence *dsync_fence_create(const char *name);
int dsync_fence_publish(struct dmabuf_sync *sync, struct dma_fence *fence, bool interruptible);

#endif /* DSYNC_SYNC_H */
