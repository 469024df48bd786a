// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmabuf-sync: waiting for the fences that others left on a buffer.
 */
#include <linux/dma-fence.h>
#include <linux/slab.h>

#include "dsync.h"

/**
 * DOC: fences of others
 *
 * Who is granted a buffer still has to wait for the DMA that foreign drivers
 * have queued on it: a reader for their writes, a writer for all. It waits for
 * a snapshot of the fences, taken once it is granted: a neighbour that keeps
 * adding fences cannot hold it up for longer than those it had then.
 *
 * A thread waits by sleeping on one fence after the other, everything else
 * through a gate, which counts callbacks and queues a work item.
 */

/**
 * dsync_fences_signalled - would dsync_fences_wait() return at once?
 * @access: CPU access
 *
 * Returns: true if no fence has to be waited for.
 */
bool dsync_fences_signalled(const struct dsync_access *access)
{
	enum dma_resv_usage usage = dma_resv_usage_rw(access->type & DMABUF_SYNC_WRITE);
	struct dma_resv_iter cursor;
	struct dma_fence *fence;
	bool signalled = true;

	if (dma_resv_test_signaled(access->resv, usage))
		return true;
	if (!dsync_has_ranges(access))
		return false;
	dma_resv_iter_begin(&cursor, access->resv, usage);
	dma_resv_for_each_fence_unlocked(&cursor, fence) {
		if (dma_resv_iter_is_restarted(&cursor))
			signalled = true;
		if (!dsync_fence_elsewhere(fence, access))
			signalled = false;
	}
	dma_resv_iter_end(&cursor);
	return signalled;
}

static int wait_for_fence(struct dma_fence *fence, ktime_t until)
{
	long left;

	do {
		left = dma_fence_wait_timeout(fence, true, dsync_timeout_until(until));
	} while (!left && dsync_timeout_until(until));
	if (left < 0)
		return left;
	return left || dma_fence_is_signaled(fence) ? 0 : -ETIMEDOUT;
}

/**
 * dsync_fences_wait - sleep until the fences of now have signalled
 * @access: CPU access
 * @until: CLOCK_MONOTONIC time to give up at
 *
 * Jobs that have nothing to do with its bytes are left out.
 *
 * Returns: 0, -ERESTARTSYS, -ETIMEDOUT or -ENOMEM.
 */
int dsync_fences_wait(const struct dsync_access *access, ktime_t until)
{
	struct dma_fence **fences;
	unsigned int count, i;
	int err;

	if (dsync_fences_signalled(access))
		return 0;
	err = dma_resv_get_fences(access->resv,
				  dma_resv_usage_rw(access->type & DMABUF_SYNC_WRITE),
				  &count, &fences);
	if (err)
		return err;

	for (i = 0; i < count; i++) {
		if (!err && !dsync_fence_elsewhere(fences[i], access))
			err = wait_for_fence(fences[i], until);
		dma_fence_put(fences[i]);
	}
	kfree(fences);
	return err;
}

/**
 * dsync_gate_alloc - a gate for a number of fences
 * @count: how many
 *
 * The caller fills in slots[].fence, with a reference each.
 *
 * Returns: the gate or NULL.
 */
struct dsync_gate *dsync_gate_alloc(unsigned int count)
{
	struct dsync_gate *gate = kvzalloc(struct_size(gate, slots, count), GFP_KERNEL);

	if (gate)
		gate->count = count;
	return gate;
}

static void gate_count_down(struct dsync_gate *gate)
{
	/* The work item may free the gate as soon as it is queued. */
	struct workqueue_struct *wq = gate->wq;
	struct work_struct *work = gate->work;

	if (refcount_dec_and_test(&gate->pending))
		queue_work(wq, work);
}

static void gate_fence_signalled(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	gate_count_down(container_of(cb, struct dsync_gate_slot, cb)->gate);
}

/**
 * dsync_gate_arm - queue a work item once all fences have signalled
 * @gate: gate with its slots filled in
 * @wq: where to queue
 * @work: what to queue; may run before this returns, and frees the gate
 *
 * Allocates nothing.
 */
void dsync_gate_arm(struct dsync_gate *gate, struct workqueue_struct *wq,
		    struct work_struct *work)
{
	unsigned int i;

	gate->wq = wq;
	gate->work = work;
	refcount_set(&gate->pending, gate->count + 1);
	for (i = 0; i < gate->count; i++) {
		struct dsync_gate_slot *slot = &gate->slots[i];

		slot->gate = gate;
		if (dma_fence_add_callback(slot->fence, &slot->cb, gate_fence_signalled))
			gate_count_down(gate);
	}
	gate_count_down(gate);
}

/**
 * dsync_gate_cancel - do not wait for the fences any longer
 * @gate: armed gate, or one whose work item has run
 *
 * Returns: true if the work item will not be queued; false if it has been.
 */
bool dsync_gate_cancel(struct dsync_gate *gate)
{
	unsigned int i, removed = 0;

	for (i = 0; i < gate->count; i++)
		removed += dma_fence_remove_callback(gate->slots[i].fence, &gate->slots[i].cb);
	if (removed && refcount_sub_and_test(removed, &gate->pending))
		return true;
	/* Callbacks that are running right now queue it. */
	while (refcount_read(&gate->pending))
		cond_resched();
	return false;
}

/**
 * dsync_gate_free - free a gate that was never armed, or that has opened
 * @gate: gate or NULL
 */
void dsync_gate_free(struct dsync_gate *gate)
{
	unsigned int i;

	if (!gate)
		return;
	for (i = 0; i < gate->count; i++)
		dma_fence_put(gate->slots[i].fence);
	kvfree(gate);
}
