// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmabuf-sync: giving buffers back.
 */
#include "dsync.h"
#include "trace.h"

/**
 * DOC: release
 *
 * Whoever takes an access off a granted list - its owner, or the one who
 * revokes it - first marks it DSYNC_LEAVING and lets the queue be scanned:
 * other CPU accesses may be granted beside it now. Then dsync_finish_release()
 * decides about the caches: if another CPU access of the same dma-buf is
 * granted, it takes over the end_cpu_access calls that are owed, and no cache
 * work is done. If there is none, end_cpu_access runs now, without any lock,
 * while the access stays on the list as DSYNC_ENDING and keeps everybody out:
 * so DMA never starts before the caches are clean. An access that owes no
 * end_cpu_access is simply taken off. With range hooks what is owed is owed by
 * the queue (ranges.c), and paid before the last who held it is taken off.
 */

/**
 * dsync_uses_cache - is this an access of the CPU that needs clean caches?
 * @access: access
 *
 * Returns: true if begin and end_cpu_access belong to it.
 */
bool dsync_uses_cache(const struct dsync_access *access)
{
	return access->dmabuf && !(access->type & DMABUF_SYNC_DMA) &&
	       !(access->flags & DSYNC_NO_CACHE);
}

/**
 * dsync_finish_release - take a leaving access off its queue
 * @access: marked DSYNC_LEAVING by the caller, the queue scanned since; its
 *	queue is locked, and is unlocked on return
 *
 * On return the access is on no list and its flags say so; its reference to
 * the queue is still the caller's to give back. An fcntl access that was revoked
 * is gone.
 */
void dsync_finish_release(struct dsync_access *access)
{
	struct dsync_queue *queue = access->queue;
	LIST_HEAD(candidates);

	dsync_cache_pay(access);
	dsync_ranges_settle(access, NULL);
	list_del_init(&access->node);
	if (access->flags & DSYNC_REVOKED && access->request)
		wake_up(&access->request->wait);
	trace_dmabuf_sync_release(access);
	access->flags &= ~(DSYNC_LEAVING | DSYNC_ENDING | DSYNC_PENDING);
	dsync_count(RELEASE);
	/* Under the lock, so that its owner finds it here or there. Not ours any more. */
	if ((access->flags & DSYNC_REVOKED) && (access->flags & DSYNC_FCNTL))
		dsync_revoked_add(access);
	dsync_queue_scan(queue, &candidates);
	dsync_queue_unlock(queue);
	dsync_grant_candidates(&candidates);
}

/**
 * dsync_release - give one access back
 * @access: granted; its queue is locked, and is unlocked on return
 *
 * As for dsync_finish_release().
 */
void dsync_release(struct dsync_access *access)
{
	struct dsync_queue *queue = access->queue;
	LIST_HEAD(candidates);

	access->flags |= DSYNC_LEAVING;
	if (access->flags & DSYNC_FCNTL) {
		/* All its ranges, wherever they were. */
		access->start = 0;
		access->end = OFFSET_MAX;
	}
	/* Now: the queue is unlocked below, and its owner may get another hold. */
	trace_dmabuf_sync_leave(access);
	dsync_released(access, access->start, access->end);
	if (access->begun || !list_empty(&queue->ranges)) {
		dsync_queue_scan(queue, &candidates);
		if (!list_empty(&candidates)) {
			dsync_queue_unlock(queue);
			dsync_grant_candidates(&candidates);
			dsync_queue_lock(queue);
		}
	}
	dsync_finish_release(access);
}

/* Before the others of the request leave, so that nobody gets it meanwhile. */
static void take_away(struct dsync_access *access)
{
	if (!access->exporter || !access->exporter->released)
		return;
	dsync_queue_lock(access->queue);
	if (!(access->flags & DSYNC_REVOKED)) {
		access->flags |= DSYNC_LEAVING;
		trace_dmabuf_sync_leave(access);
		dsync_released(access, access->start, access->end);
	}
	dsync_queue_unlock(access->queue);
}

/**
 * dsync_release_request - give all accesses of a request back
 * @request: granted; nothing is locked, its queue pointers are stable
 *
 * All of them leave before any end_cpu_access is decided on, so that a request
 * that waits for the same set of buffers takes over the caches of all.
 */
void dsync_release_request(struct dsync_request *request)
{
	struct dsync_access *access;
	struct dsync_txn txn;
	LIST_HEAD(candidates);

	for_each_access(access, request)
		take_away(access);
	dsync_txn_begin(&txn);
	dsync_txn_lock_request(&txn, request);
	for_each_access(access, request) {
		if (access->flags & (DSYNC_REVOKED | DSYNC_LEAVING))
			continue;
		access->flags |= DSYNC_LEAVING;
		trace_dmabuf_sync_leave(access);
	}
	for_each_access(access, request)
		dsync_queue_scan(access->queue, &candidates);
	request->state = DSYNC_IDLE;
	dsync_txn_end(&txn);
	dsync_grant_candidates(&candidates);

	for_each_access(access, request) {
		dsync_queue_lock(access->queue);
		if (!(access->flags & DSYNC_REVOKED)) {
			dsync_finish_release(access);
			continue;
		}
		dsync_queue_unlock(access->queue);
		/* Whoever revoked it may still be busy with its caches. */
		wait_event(request->wait, list_empty_careful(&access->node));
		dsync_queue_lock(access->queue);
		dsync_queue_unlock(access->queue);
	}
}
