// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmabuf-sync: locking a sync object in the background.
 */
#include <linux/slab.h>

#include "sync.h"

/**
 * DOC: asynchronous locks
 *
 * The steps of a lock that a thread waits for, done by two work items:
 *
 *	granted_work	all buffers are granted: collect their fences in a gate
 *	ready_work	the gate has opened: begin CPU access, the lock is complete
 *
 * Instead of a thread the gate waits for the fences. Whoever takes the lock back,
 * by unlocking or closing, stops whichever of these comes next.
 */

/* The asynchronous lock has come to an end; it may be being taken back. */
static void async_over(struct dmabuf_sync *sync, int err)
{
	if (err && sync->request.state == DSYNC_GRANTED)
		dsync_release_request(&sync->request);
	mutex_lock(&sync->mutex);
	if (sync->state == DSYNC_SYNC_ASYNC) {
		sync->error = err;
		sync->state = err ? DSYNC_SYNC_FAILED : DSYNC_SYNC_LOCKED;
	}
	mutex_unlock(&sync->mutex);
	wake_up_all(&sync->wait);
}

static void ready_work(struct work_struct *work)
{
	struct dmabuf_sync *sync = container_of(work, struct dmabuf_sync, ready_work);
	int err = dsync_sync_begin_cpu(sync);

	if (!err)
		dsync_sync_complete(sync);
	async_over(sync, err);
}

/* A gate for the fences of all buffers, as of now. */
static struct dsync_gate *collect_fences(struct dmabuf_sync *sync)
{
	struct dma_fence **all = NULL, **fences, **grown;
	struct dsync_gate *gate = NULL;
	unsigned int count, total = 0, i;
	struct dsync_access *access;

	for_each_access(access, &sync->request) {
		if (dma_resv_get_fences(access->resv,
					dma_resv_usage_rw(access->type & DMABUF_SYNC_WRITE),
					&count, &fences))
			goto put_fences;
		if (!count)
			continue;
		grown = krealloc(all, array_size(total + count, sizeof(*all)), GFP_KERNEL);
		if (!grown) {
			while (count--)
				dma_fence_put(fences[count]);
			kfree(fences);
			goto put_fences;
		}
		all = grown;
		for (i = 0; i < count; i++) {
			if (dsync_fence_elsewhere(fences[i], access))
				dma_fence_put(fences[i]);
			else
				all[total++] = fences[i];
		}
		kfree(fences);
	}
	gate = dsync_gate_alloc(total);
	if (!gate)
		goto put_fences;
	for (i = 0; i < total; i++)
		gate->slots[i].fence = all[i];
	kfree(all);
	return gate;

put_fences:
	for (i = 0; i < total; i++)
		dma_fence_put(all[i]);
	kfree(all);
	return NULL;
}

static void granted_work(struct work_struct *work)
{
	struct dmabuf_sync *sync = container_of(work, struct dmabuf_sync, granted_work);

	sync->gate = collect_fences(sync);
	if (!sync->gate)
		async_over(sync, -ENOMEM);
	else
		dsync_gate_arm(sync->gate, dsync_wq, &sync->ready_work);
}

/* Called with queues locked. */
static void async_granted(struct dsync_request *request)
{
	struct dmabuf_sync *sync = container_of(request, struct dmabuf_sync, request);

	queue_work(dsync_wq, &sync->granted_work);
}

/**
 * dsync_async_done - wait until the work items are through with the gate, and the object
 * @sync: object whose asynchronous lock has come to an end, if it was one
 */
void dsync_async_done(struct dmabuf_sync *sync)
{
	if (sync->request.granted != async_granted)
		return;
	flush_work(&sync->granted_work);
	flush_work(&sync->ready_work);
	dsync_gate_free(sync->gate);
	sync->gate = NULL;
}

/**
 * dsync_async_cancel - take an asynchronous lock back, however far it is
 * @sync: object in DSYNC_SYNC_UNLOCKING, so nobody else does; idle on return
 */
void dsync_async_cancel(struct dmabuf_sync *sync)
{
	dsync_request_cancel(&sync->request);
	if (cancel_work_sync(&sync->granted_work) || !sync->gate || dsync_gate_cancel(sync->gate)) {
		dsync_gate_free(sync->gate);
		sync->gate = NULL;
	}
	dsync_async_done(sync);
	if (sync->request.state == DSYNC_GRANTED)
		dsync_release_request(&sync->request);
	dsync_sync_detach_queues(sync, DSYNC_SYNC_IDLE);
}

void dsync_async_init(struct dmabuf_sync *sync)
{
	INIT_WORK(&sync->granted_work, granted_work);
	INIT_WORK(&sync->ready_work, ready_work);
}

/**
 * dsync_async_begin - begin to lock, and go on in the background
 * @sync: object in DSYNC_SYNC_ASYNC, its mutex held: nobody takes the lock back before it has begun
 * @candidates: as for dsync_sync_acquire()
 *
 * Returns: 0; -ENOMEM, then it is idle.
 */
int dsync_async_begin(struct dmabuf_sync *sync, struct list_head *candidates)
{
	int err;

	sync->request.granted = async_granted;
	err = dsync_sync_acquire(sync, DSYNC_LOCK_ASYNC, candidates);
	if (!err)
		queue_work(dsync_wq, &sync->granted_work);
	else if (err != -EINPROGRESS)
		dsync_sync_detach_queues_locked(sync, DSYNC_SYNC_IDLE);
	return err == -EINPROGRESS ? 0 : err;
}
