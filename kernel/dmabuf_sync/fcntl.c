// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmabuf-sync: fcntl() locks on dma-bufs.
 */
#include "dsync.h"
#include "trace.h"

/**
 * DOC: fcntl
 *
 * The VFS does the parameter checks of fcntl(2) and then calls ->lock. A lock
 * is asked for in three steps:
 *
 * 1. The request queues up, and waits until it is granted.
 * 2. Granted but pending, it waits for foreign fences and begins CPU access.
 * 3. The posix record is made and the hold is complete.
 *
 * Anything may fail until the record is made, and then only the pending access
 * has to be taken back: what the owner held before is untouched. If there is
 * nothing to wait for, all three happen under one lock of the queue.
 *
 * An owner has one complete hold on a buffer, however many ranges it locks;
 * its first grant sets the deadline, later ones can only ask for more within
 * the maximum counted from there.
 */

/* A files_struct may be another process's by the time its old owner's hold has left. */
static bool of_caller(const struct dsync_access *held)
{
	return (held->flags & DSYNC_OFD) || held->pid == task_tgid(current);
}

static struct dsync_access *find_hold(const struct dsync_access *like)
{
	struct dsync_access *held;

	list_for_each_entry(held, &like->queue->granted, node) {
		if (held == like || held->owner != like->owner || held->dmabuf != like->dmabuf)
			continue;
		if (held->flags & DSYNC_PENDING)
			continue;
		/* One that leaves is of interest only if its owner does not know. */
		if ((held->flags & DSYNC_LEAVING) &&
		    (!(held->flags & DSYNC_REVOKED) || (held->flags & DSYNC_TOLD) ||
		     !of_caller(held)))
			continue;
		return held;
	}
	return NULL;
}

/* Has the caller lost its hold, or is it losing it at this very moment? Queue locked. */
static bool take_revoked(struct dsync_access *held, struct file *file, struct file_lock *fl)
{
	if (held && (held->flags & DSYNC_REVOKED)) {
		held->flags |= DSYNC_TOLD;
		return true;
	}
	return dsync_revoked_take(file, file_lock_flags(fl) & FL_OFDLCK);
}

static void init_access(struct dsync_access *access, struct file *file, struct file_lock *fl)
{
	access->owner = file_lock_owner(fl);
	access->dmabuf = file->private_data;
	access->exporter = dsync_exporter_find(access->dmabuf);
	access->resv = access->dmabuf->resv;
	access->start = fl->fl_start;
	access->end = fl->fl_end;
	access->type = file_lock_type(fl) == F_WRLCK ? DMABUF_SYNC_WRITE : DMABUF_SYNC_READ;
	access->flags = file_lock_flags(fl) & FL_OFDLCK ? DSYNC_OFD : DSYNC_POSIX;
	INIT_LIST_HEAD(&access->node);
}

/*
 * Step 3, queue locked. @access is pending on the granted list, or on no list
 * if it never had to wait. Returns true in @merged if the owner had a hold
 * before, which then has all that @access had.
 */
static int complete_grant(struct dsync_access *access, struct file *file, struct file_lock *fl,
			  ktime_t hold_time, bool *merged)
{
	unsigned int sleep = file_lock_flags(fl) & FL_SLEEP;
	struct dsync_access *held;
	int err;

	if (dsync_posix_full(file, fl))
		return -ENOLCK;
	/* It must not queue a waiter of its own: everybody waits with us. */
	file_lock_flags(fl) &= ~FL_SLEEP;
	err = posix_lock_file(file, fl, NULL);
	file_lock_flags(fl) |= sleep;
	if (err)
		return err;

	held = find_hold(access);
	*merged = held;
	if (held) {
		dsync_count(MERGE);
		list_del_init(&access->node);
		held->begun |= access->begun;
		access->begun = 0;
		held->type = dsync_posix_held(file, access->owner);
	} else {
		held = access;
		held->flags &= ~DSYNC_PENDING;
		held->request = NULL;
		held->granted_at = ktime_get();
		held->deadline = held->granted_at;
		if (list_empty(&held->node))
			list_add_tail(&held->node, &held->queue->granted);
	}
	held->deadline = max(held->deadline, ktime_add(held->granted_at, hold_time));
	trace_dmabuf_sync_hold(access);
	return 0;
}

/*
 * Step 1, the long way. Queue locked on entry, unlocked on return. On success
 * the access is pending.
 */
static int wait_for_grant(struct dsync_access *access, ktime_t until)
{
	struct dsync_queue *queue = access->queue;
	struct dsync_request request;
	int err;

	dsync_queue_unlock(queue);
	err = dsync_expiry_prepare(queue);
	if (err) {
		trace_dmabuf_sync_cancel(access);
		return -ENOLCK;
	}
	dsync_request_init(&request, access, 1);
	access->request = &request;

	dsync_queue_lock(queue);
	dsync_posix_adopt(queue, access->dmabuf);
	if (!dsync_blocked(access, dsync_enqueue_position(access))) {
		dsync_request_grant(&request);
		dsync_queue_unlock(queue);
		access->request = NULL;
		return 0;
	}
	dsync_request_enqueue(&request);
	dsync_queue_unlock(queue);

	if ((access->flags & DSYNC_POSIX) && dsync_cycle_deadlocks(&request))
		err = -EDEADLK;
	else
		err = dsync_request_wait(&request, until);

	/* The granter may still be at it: see dsync_request_wait(). */
	dsync_queue_lock(queue);
	access->request = NULL;
	dsync_queue_unlock(queue);
	return err;
}

/* Step 2. The access is pending and nothing is locked. */
static int prepare_cpu(struct dsync_access *access, bool signalled, ktime_t until)
{
	int err = signalled ? 0 : dsync_fences_wait(access, until);

	if (!err)
		err = dsync_cache_begin(access);
	return err == -ENOMEM ? -ENOLCK : err;
}

/* Returns 0 and @merged as complete_grant() does; on error @access is on no list. */
static int acquire(struct dsync_access *access, struct file *file, struct file_lock *fl,
		   ktime_t until, ktime_t hold_time, bool *merged)
{
	bool sleep = file_lock_flags(fl) & FL_SLEEP;
	struct dsync_queue *queue = access->queue;
	const struct dsync_access asked = *access;
	bool signalled = false;
	LIST_HEAD(candidates);
	int err;

again:
	dsync_queue_lock(queue);
	if (take_revoked(find_hold(access), file, fl)) {
		trace_dmabuf_sync_cancel(access);
		err = -ETIMEDOUT;
		goto unlock;
	}
	if (dsync_blocked(access, dsync_enqueue_position(access))) {
		if (!sleep) {
			bool soon = dsync_only_closed(access, dsync_enqueue_position(access));

			dsync_queue_unlock(queue);
			if (soon && dsync_wait_until_open(queue))
				goto again;
			if (dsync_expire(queue, access))
				goto again;
			trace_dmabuf_sync_cancel(access);
			return -EAGAIN;
		}
		err = wait_for_grant(access, until);
		if (err)
			return err;
	} else {
		struct dsync_request request = { .accesses = access, .count = 1 };

		signalled = dsync_fences_signalled(access);
		if (!signalled && !sleep) {
			/* Not granted first: nobody shall be refused for what fails anyway. */
			trace_dmabuf_sync_cancel(access);
			err = -EAGAIN;
			goto unlock;
		}
		if (signalled && !dsync_cache_needs_begin(access)) {
			trace_dmabuf_sync_grant(access);
			err = complete_grant(access, file, fl, hold_time, merged);
			if (err)
				trace_dmabuf_sync_cancel(access);
			else
				dsync_count(GRANT);
			goto scan;
		}
		dsync_request_grant(&request);
		dsync_queue_unlock(queue);
	}

	err = prepare_cpu(access, signalled, until);
	dsync_queue_lock(queue);
	/* What it held before may have been revoked while it slept. */
	if (!err && take_revoked(find_hold(access), file, fl))
		err = -ETIMEDOUT;
	if (!err)
		err = complete_grant(access, file, fl, hold_time, merged);
	if (err) {
		dsync_release(access);
		return err;
	}
scan:
	/* A lock for reading on top of one for writing lets others in. */
	if (!err && *merged && asked.type == DMABUF_SYNC_READ)
		dsync_released(&asked, asked.start, asked.end);
	if (!list_empty(&queue->waiting)) {
		dsync_cache_settle(&asked, NULL);
		dsync_queue_scan(queue, &candidates);
	}
unlock:
	dsync_queue_unlock(queue);
	dsync_grant_candidates(&candidates);
	return err;
}

/**
 * dsync_fcntl_setlk - lock a range for reading or writing
 * @file: dma-buf
 * @fl: request as the VFS makes it; FL_SLEEP to wait
 * @until: CLOCK_MONOTONIC time to give up at, KTIME_MAX for never
 * @hold_timeout_ms: hold time, 0 for the default
 *
 * Returns: 0; -EAGAIN would wait; -EDEADLK; -ERESTARTSYS; -ENOLCK no memory, or
 * the owner has DSYNC_MAX_RECORDS already;
 * -ETIMEDOUT an earlier hold was revoked, or @until has passed; what the
 * exporter's begin_cpu_access says. On error the owner holds what it held
 * before.
 */
int dsync_fcntl_setlk(struct file *file, struct file_lock *fl, ktime_t until,
		      unsigned int hold_timeout_ms)
{
	struct dma_buf *dmabuf = file->private_data;
	struct dsync_access *access;
	struct dsync_queue *queue;
	bool merged = false;
	int err;

	/* Being unloaded: nothing of ours is held or waits, so the VFS can do it. */
	if (!try_module_get(THIS_MODULE))
		return posix_lock_file(file, fl, NULL);

	err = -ENOLCK;
	access = dsync_access_alloc();
	if (!access)
		goto put_module;
	init_access(access, file, fl);
	access->pid = get_pid(task_tgid(current));
	access->granted_at = ktime_get();
	access->queue = dsync_queue_get(dmabuf->resv);
	if (!access->queue)
		goto free_access;

	trace_dmabuf_sync_request(access);
	dsync_count(REQUEST);
	queue = access->queue;
	dsync_queue_ref(queue);
	err = acquire(access, file, fl, until, dsync_hold_time(hold_timeout_ms), &merged);
	/* Another thread may have released the hold before we were through with the queue. */
	dsync_queue_put(queue);
	if (!err && !merged)
		return 0;	/* the hold keeps its references until it is released */

	dsync_queue_put(queue);
free_access:
	dsync_access_free(access);
put_module:
	module_put(THIS_MODULE);
	return err;
}

static void free_hold(struct dsync_access *held)
{
	dsync_queue_put(held->queue);
	dsync_access_free(held);
	module_put(THIS_MODULE);
}

/*
 * Is there anything to tell the exporter? The queue is closed meanwhile: who unlocks what he has
 * not locked, over and over, must not keep it so.
 */
static bool loses(const struct dsync_access *like, struct file *file, struct file_lock *fl)
{
	return like->exporter && like->exporter->released && dsync_posix_holds(file, fl);
}

/*
 * F_UNLCK, also at close and in __fput. Errors: -ENOLCK a record had to be
 * split, and there was no memory or are too many already; -ETIMEDOUT the hold had been
 * revoked.
 */
static int unlock(struct file *file, struct file_lock *fl)
{
	struct dma_buf *dmabuf = file->private_data;
	bool closing = file_lock_flags(fl) & FL_CLOSE;
	struct dsync_access like = {}, *held;
	struct dsync_queue *queue;
	LIST_HEAD(candidates);
	bool lost = false;
	unsigned int left;
	int err = 0;

	init_access(&like, file, fl);
	queue = dsync_queue_find(dmabuf->resv);
	if (!queue) {
		if (!closing && take_revoked(NULL, file, fl))
			return -ETIMEDOUT;
		/*
		 * A record from before our time; somebody may begin to wait for it. Or of another
		 * thread, made since.
		 */
		lost = true;
		err = posix_lock_file(file, fl, NULL);
		queue = dsync_queue_find(dmabuf->resv);
		if (!queue)
			return closing ? 0 : err;
	}

	dsync_queue_lock(queue);
	like.queue = queue;
	held = find_hold(&like);
	/* Being revoked: who revokes it takes it off. */
	if (!held || (held->flags & DSYNC_LEAVING)) {
		if (take_revoked(held, file, fl) && !closing) {
			err = -ETIMEDOUT;
			goto unlock;
		}
		held = NULL;
	}
	lost |= loses(&like, file, fl);
	err = dsync_posix_full(file, fl) ? -ENOLCK : posix_lock_file(file, fl, NULL);
	if (err)
		goto unlock;
	left = dsync_posix_held(file, like.owner);
	if (held && !left) {
		dsync_release(held);
		free_hold(held);
		dsync_queue_put(queue);
		return 0;
	}
	if (held)
		held->type = left;
	/* First: its owner may lock the same bytes again while the queue is unlocked. */
	trace_dmabuf_sync_unlock(&like);
	if (lost)
		dsync_released(&like, like.start, like.end);
	dsync_cache_settle(&like, NULL);
	if (!list_empty(&queue->waiting))
		dsync_queue_scan(queue, &candidates);
unlock:
	dsync_queue_unlock(queue);
	dsync_grant_candidates(&candidates);
	dsync_queue_put(queue);
	return closing ? 0 : err;
}

/* F_GETLK. Takes no lock; always 0. */
static int test_lock(struct file *file, struct file_lock *fl)
{
	struct dma_buf *dmabuf = file->private_data;
	struct dsync_access access = {};
	struct dsync_queue *queue;

	/* Since 6.12 F_UNLCK asks for the locks of the open file description itself. */
	if (file_lock_type(fl) == F_UNLCK) {
		posix_test_lock(file, fl);
		return 0;
	}
	init_access(&access, file, fl);
	posix_test_lock(file, fl);
	if (file_lock_type(fl) != F_UNLCK)
		return 0;
	queue = dsync_queue_find(dmabuf->resv);
	if (!queue)
		return 0;
	access.queue = queue;
	dsync_queue_lock(queue);
	dsync_posix_queue_conflict(&access, fl);
	dsync_queue_unlock(queue);
	dsync_queue_put(queue);
	return 0;
}

/**
 * dsync_fcntl - the lock callback of all dma-bufs
 * @file: dma-buf
 * @cmd: F_GETLK, F_SETLK or F_SETLKW, in whichever width
 * @fl: the request
 *
 * Returns: as fcntl(2); see dsync_fcntl_setlk().
 */
int dsync_fcntl(struct file *file, int cmd, struct file_lock *fl)
{
	if (IS_GETLK(cmd))
		return test_lock(file, fl);
	if (file_lock_type(fl) == F_UNLCK)
		return unlock(file, fl);
	return dsync_fcntl_setlk(file, fl, KTIME_MAX, 0);
}
