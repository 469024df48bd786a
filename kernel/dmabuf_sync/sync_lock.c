// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmabuf-sync: locking and unlocking sync objects.
 */
#include <linux/export.h>
#include <linux/slab.h>

#include "sync.h"
#include "trace.h"

/**
 * DOC: locking a sync object
 *
 * All buffers are asked for at once: with all their queues locked, either all
 * are granted or all wait, and nothing is held meanwhile. Once granted, the
 * foreign fences are waited for and CPU access begins, buffer by buffer; if
 * that fails everything is given back. A thread does this itself, work items do
 * it for an asynchronous lock, see sync_async.c.
 *
 * The mutex of the object is held to change its state, never while waiting.
 */

static bool any_blocked(struct dsync_request *request)
{
	struct dsync_access *access;

	for_each_access(access, request)
		if (dsync_blocked(access, &access->queue->waiting))
			return true;
	return false;
}

/* Get ready to wait: a timer for every queue, and a deadline for old records. */
static int prepare_to_wait_in_queues(struct dsync_request *request)
{
	struct dsync_access *access;
	int err;

	for_each_access(access, request) {
		err = dsync_expiry_prepare(access->queue);
		if (err)
			return err;
		if (!access->dmabuf)
			continue;
		dsync_queue_lock(access->queue);
		dsync_posix_adopt(access->queue, access->dmabuf);
		dsync_queue_unlock(access->queue);
	}
	return 0;
}

/* What readers have left for the next device to clean. */
static bool settle_caches(struct dsync_request *request, struct list_head *candidates)
{
	struct dsync_access *access;
	bool any = false;

	for_each_access(access, request) {
		dsync_queue_lock(access->queue);
		if (dsync_cache_settle(access, access)) {
			dsync_queue_scan(access->queue, candidates);
			any = true;
		}
		dsync_queue_unlock(access->queue);
	}
	return any;
}

static bool revoke_due(struct dsync_request *request)
{
	struct dsync_access *access;
	bool any = false;

	for_each_access(access, request)
		any |= dsync_expire(access->queue, access);
	return any;
}

/*
 * If nothing keeps it back but what ends by itself, as caches being cleaned: a queue to wait
 * for. That is no reason to fail. All queues are locked.
 */
static struct dsync_queue *closed_queue(struct dsync_request *request)
{
	struct dsync_queue *found = NULL;
	struct dsync_access *access;

	for_each_access(access, request) {
		if (!dsync_blocked(access, &access->queue->waiting))
			continue;
		if (!dsync_only_closed(access, &access->queue->waiting))
			return NULL;
		found = access->queue;
	}
	return found;
}

static bool unsettled(struct dsync_request *request)
{
	struct dsync_access *access;

	for_each_access(access, request)
		if (dsync_cache_unsettled(access))
			return true;
	return false;
}

static bool all_signalled(struct dsync_request *request)
{
	struct dsync_access *access;

	for_each_access(access, request)
		if (!dsync_fences_signalled(access))
			return false;
	return true;
}

/**
 * dsync_sync_acquire - be granted all buffers, or begin to wait for them
 * @sync: object with queues attached
 * @mode: with DSYNC_LOCK_NONBLOCK it does not begin to wait
 * @candidates: who may have come to be served by it, for dsync_grant_candidates(),
 *	which takes the mutexes of other objects
 *
 * Returns: 0 granted; -EAGAIN not granted; -EINPROGRESS waiting; -ENOMEM.
 */
int dsync_sync_acquire(struct dmabuf_sync *sync, enum dsync_lock_mode mode,
		       struct list_head *candidates)
{
	bool try = mode == DSYNC_LOCK_NONBLOCK, prepared = false;
	struct dsync_request *request = &sync->request;
	struct dsync_access *access;
	struct dsync_queue *closed;
	struct dsync_txn txn;
	int err;

	for_each_access(access, request) {
		trace_dmabuf_sync_request(access);
		dsync_count(REQUEST);
	}
again:
	dsync_txn_begin(&txn);
	dsync_txn_lock_request(&txn, request);
	closed = NULL;
	if (any_blocked(request)) {
		err = -EAGAIN;
		/* Who waits already is taken care of by those who leave something. */
		if (prepared && !unsettled(request)) {
			dsync_request_enqueue(request);
			err = -EINPROGRESS;
		}
		/* Now, with all locked: a moment later it may be open. */
		if (try)
			closed = closed_queue(request);
	} else if (try && !all_signalled(request)) {
		/* Not granted first: nobody shall be refused for what fails anyway. */
		err = -EAGAIN;
	} else {
		request->state = DSYNC_IDLE;
		dsync_request_grant(request);
		err = 0;
	}
	dsync_txn_end(&txn);
	if (err != -EAGAIN)
		return err;

	if (try) {
		if ((closed && dsync_wait_until_open(closed)) ||
		    settle_caches(request, candidates) || revoke_due(request))
			goto again;
		goto cancel;
	}
	err = prepare_to_wait_in_queues(request);
	if (err)
		goto cancel;
	settle_caches(request, candidates);
	prepared = true;
	goto again;

cancel:
	for_each_access(access, request)
		trace_dmabuf_sync_cancel(access);
	return err;
}

/**
 * dsync_sync_complete - the lock is complete: its deadlines run
 * @sync: granted object, with nothing left to wait for
 */
void dsync_sync_complete(struct dmabuf_sync *sync)
{
	struct dsync_access *access;

	for_each_access(access, &sync->request) {
		dsync_queue_lock(access->queue);
		access->flags &= ~DSYNC_PENDING;
		access->granted_at = ktime_get();
		/* A device cannot be told to let go; a driver that started it can be trusted. */
		if (!(access->flags & DSYNC_KERNEL) || !(access->type & DMABUF_SYNC_DMA))
			access->deadline = ktime_add(access->granted_at, sync->hold_time);
		trace_dmabuf_sync_hold(access);
		dsync_expiry_arm(access->queue);
		dsync_queue_unlock(access->queue);
	}
}

static int wait_for_fences(struct dmabuf_sync *sync, ktime_t until)
{
	struct dsync_access *access;
	int err;

	for_each_access(access, &sync->request) {
		err = dsync_fences_wait(access, until);
		if (err)
			return err;
	}
	return 0;
}

/**
 * dsync_sync_begin_cpu - begin CPU access to all buffers
 * @sync: granted object, whose fences have signalled
 *
 * Returns: 0, or what an exporter says; what was begun ends when it is released.
 */
int dsync_sync_begin_cpu(struct dmabuf_sync *sync)
{
	struct dsync_access *access;
	int err;

	for_each_access(access, &sync->request) {
		err = dsync_cache_begin(access);
		if (err)
			return err;
	}
	return 0;
}

/* Undo a grant that could not be completed, or end a lock. */
static void give_back(struct dmabuf_sync *sync, enum dmabuf_sync_state state)
{
	dsync_release_request(&sync->request);
	dsync_sync_detach_queues(sync, state);
}

static void set_state(struct dmabuf_sync *sync, enum dmabuf_sync_state state)
{
	mutex_lock(&sync->mutex);
	sync->state = state;
	mutex_unlock(&sync->mutex);
}

/**
 * dsync_sync_revoked - how many holds were taken away since it was locked
 * @sync: object, its mutex held
 *
 * Returns: the number.
 */
unsigned int dsync_sync_revoked(struct dmabuf_sync *sync)
{
	struct dsync_access *access;
	unsigned int count = 0;

	for_each_access(access, &sync->request)
		if (READ_ONCE(access->flags) & DSYNC_REVOKED)
			count++;
	return count;
}

/* All that needs memory. An asynchronous lock cannot look for any later, with the mutex held. */
static int attach(struct dmabuf_sync *sync, enum dsync_lock_mode mode)
{
	int err = dsync_sync_attach_queues(sync);

	if (!err && mode == DSYNC_LOCK_ASYNC) {
		err = prepare_to_wait_in_queues(&sync->request);
		if (err)
			dsync_sync_detach_queues(sync, DSYNC_SYNC_LOCKING);
	}
	return err;
}

/* End a lock. The object is in DSYNC_SYNC_UNLOCKING, so nobody else does; idle on return. */
static int unlock_locked(struct dmabuf_sync *sync)
{
	int err;

	dsync_async_done(sync);
	dsync_release_request(&sync->request);
	err = dsync_sync_revoked(sync) ? -ETIMEDOUT : 0;
	dsync_sync_detach_queues(sync, DSYNC_SYNC_IDLE);
	return err;
}

/**
 * dsync_sync_lock - lock all buffers or none
 * @sync: idle object
 * @mode: wait, do not wait, or return at once and go on in the background
 * @until: CLOCK_MONOTONIC time to give up at (DSYNC_LOCK_WAIT)
 * @hold_timeout_ms: hold time, 0 for the default
 *
 * Returns: 0; -EINVAL empty; -EBUSY not idle; -ETIMEDOUT holds of the last
 * lock were revoked (it is unlocked now), or @until has passed; -EAGAIN;
 * -ERESTARTSYS; -ENOMEM; what begin_cpu_access says.
 */
int dsync_sync_lock(struct dmabuf_sync *sync, enum dsync_lock_mode mode, ktime_t until,
		    unsigned int hold_timeout_ms)
{
	LIST_HEAD(candidates);
	int err;

	mutex_lock(&sync->mutex);
	if (sync->state == DSYNC_SYNC_LOCKED && dsync_sync_revoked(sync)) {
		/* Now: a moment later it may be somebody else's lock. */
		sync->state = DSYNC_SYNC_UNLOCKING;
		mutex_unlock(&sync->mutex);
		return unlock_locked(sync);
	}
	err = -EBUSY;
	if (sync->state != DSYNC_SYNC_IDLE)
		goto unlock;
	err = -EINVAL;
	if (!sync->request.count)
		goto unlock;
	sync->state = DSYNC_SYNC_LOCKING;
	mutex_unlock(&sync->mutex);

	/* Others take the mutex to grant this object what they give back: it must not take long. */
	err = attach(sync, mode);

	mutex_lock(&sync->mutex);
	if (err) {
		sync->state = DSYNC_SYNC_IDLE;
		goto unlock;
	}
	sync->hold_time = dsync_hold_time(hold_timeout_ms);
	sync->error = 0;
	if (mode == DSYNC_LOCK_ASYNC) {
		sync->state = DSYNC_SYNC_ASYNC;
		err = dsync_async_begin(sync, &candidates);
		goto unlock;
	}
	sync->request.granted = NULL;
	mutex_unlock(&sync->mutex);

	err = dsync_sync_acquire(sync, mode, &candidates);
	dsync_grant_candidates(&candidates);
	if (err == -EINPROGRESS)
		err = dsync_request_wait(&sync->request, until);
	if (err) {
		dsync_sync_detach_queues(sync, DSYNC_SYNC_IDLE);
		return err;
	}

	/* For a try they had signalled when it was granted. */
	err = mode == DSYNC_LOCK_NONBLOCK ? 0 : wait_for_fences(sync, until);
	if (!err)
		err = dsync_sync_begin_cpu(sync);
	if (err) {
		give_back(sync, DSYNC_SYNC_IDLE);
		return err;
	}
	dsync_sync_complete(sync);
	set_state(sync, DSYNC_SYNC_LOCKED);
	return 0;

unlock:
	mutex_unlock(&sync->mutex);
	dsync_grant_candidates(&candidates);
	return err;
}

/**
 * dsync_sync_unlock - give all buffers back, or take an asynchronous lock back
 * @sync: locked object
 *
 * Returns: 0; -EPERM not locked; -EBUSY a thread is locking it, or it was
 * submitted; -ETIMEDOUT holds were revoked (it is unlocked all the same); for
 * an asynchronous lock that failed, why.
 */
int dsync_sync_unlock(struct dmabuf_sync *sync)
{
	enum dmabuf_sync_state was;
	int err = 0;

	mutex_lock(&sync->mutex);
	was = sync->state;
	switch (was) {
	case DSYNC_SYNC_LOCKED:
	case DSYNC_SYNC_ASYNC:
	case DSYNC_SYNC_FAILED:
		sync->state = DSYNC_SYNC_UNLOCKING;
		break;
	case DSYNC_SYNC_IDLE:
		err = -EPERM;
		break;
	default:
		err = -EBUSY;
	}
	mutex_unlock(&sync->mutex);

	switch (was) {
	case DSYNC_SYNC_ASYNC:
		dsync_async_cancel(sync);
		break;
	case DSYNC_SYNC_LOCKED:
		err = unlock_locked(sync);
		break;
	case DSYNC_SYNC_FAILED:
		dsync_async_done(sync);
		err = sync->error;
		dsync_sync_detach_queues(sync, DSYNC_SYNC_IDLE);
		break;
	default:
		break;
	}
	return err;
}

/**
 * dmabuf_sync_lock - lock all buffers of a sync object, waiting for them
 * @sync: idle object with buffers in it
 *
 * DMA started under it is not visible as a fence: use dmabuf_sync_submit()
 * when foreign drivers may use the buffers.
 *
 * Returns: 0; -EINVAL empty; -EBUSY locked already; -ERESTARTSYS; -ENOMEM;
 * what an exporter's begin_cpu_access says. Nothing is held on error.
 */
int dmabuf_sync_lock(struct dmabuf_sync *sync)
{
	return dsync_sync_lock(sync, DSYNC_LOCK_WAIT, KTIME_MAX, 0);
}
EXPORT_SYMBOL_GPL(dmabuf_sync_lock);

/**
 * dmabuf_sync_trylock - lock all buffers of a sync object, or fail
 * @sync: idle object with buffers in it
 *
 * Returns: as dmabuf_sync_lock(), -EAGAIN instead of waiting.
 */
int dmabuf_sync_trylock(struct dmabuf_sync *sync)
{
	return dsync_sync_lock(sync, DSYNC_LOCK_NONBLOCK, KTIME_MAX, 0);
}
EXPORT_SYMBOL_GPL(dmabuf_sync_trylock);

/**
 * dmabuf_sync_unlock - give all buffers back
 * @sync: locked object
 *
 * Returns: 0; -ETIMEDOUT the hold time was over and somebody else has had
 * some of them; -EPERM not locked, which is a bug of the caller.
 */
int dmabuf_sync_unlock(struct dmabuf_sync *sync)
{
	int err = dsync_sync_unlock(sync);

	WARN_ON_ONCE(err == -EPERM);
	return err;
}
EXPORT_SYMBOL_GPL(dmabuf_sync_unlock);
