// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmabuf-sync: the fence of a job, and how it gets onto the buffers.
 */
#include <linux/bitmap.h>
#include <linux/dma-fence.h>
#include <linux/slab.h>
#include <linux/xarray.h>

#include "sync.h"

/**
 * DOC: fences of jobs
 *
 * A job has one fence on a timeline of its own. It is finite: from the moment
 * it is published nothing keeps the job back but fences that were there
 * before, and a watchdog ends it. What waits for the CPU is no fence yet.
 *
 * Publishing is one section with all reservation objects locked: the fences
 * before the job are collected, slots are reserved, and the fence is added to
 * all buffers. All memory is allocated before the first addition.
 *
 * The CPU does not wait for a job that uses other bytes of the buffer, if the
 * exporter keeps them apart: such a fence knows its ranges.
 *
 * A job with explicit synchronisation does not wait for the fences of other
 * drivers on its buffers, but for those that it was given. It still waits for
 * other jobs: who uses our queue is never on a buffer together with somebody who
 * conflicts. So fences of jobs are known, by their context. And it waits until the
 * kernel has moved the memory, as everybody has to (DMA_RESV_USAGE_KERNEL).
 */

static DEFINE_XARRAY_FLAGS(job_fences, XA_FLAGS_LOCK_IRQ);

/**
 * struct dsync_fence - a fence that needs nothing but this module's code
 * @base: must be first, the fence core frees it
 * @lock: of @base
 * @name: of the timeline
 * @accesses: copies of the job's, only compared; NULL if none has a range
 * @count: length of @accesses
 */
struct dsync_fence {
	struct dma_fence base;
	spinlock_t lock;	/* of @base */
	char name[DMABUF_SYNC_NAME_LEN];
	struct dsync_access *accesses;
	unsigned int count;
};

static const char *fence_driver_name(struct dma_fence *fence)
{
	return "dmabuf_sync";
}

static const char *fence_timeline_name(struct dma_fence *fence)
{
	return container_of(fence, struct dsync_fence, base)->name;
}

static void fence_release(struct dma_fence *fence)
{
	struct dsync_fence *ours = container_of(fence, struct dsync_fence, base);
	unsigned long flags;

	xa_lock_irqsave(&job_fences, flags);
	__xa_erase(&job_fences, fence->context);
	xa_unlock_irqrestore(&job_fences, flags);
	kfree(ours->accesses);
	dma_fence_free(fence);
	/* dsync_hook_remove() waits for us to return. */
	module_put(THIS_MODULE);
}

static const struct dma_fence_ops fence_ops = {
	.get_driver_name = fence_driver_name,
	.get_timeline_name = fence_timeline_name,
	.release = fence_release,
};

/**
 * dsync_fence_create - a fence that nobody has seen yet
 * @name: of its timeline
 *
 * It pins the module for as long as anybody has a reference.
 *
 * Returns: the fence or NULL.
 */
struct dma_fence *dsync_fence_create(const char *name)
{
	struct dsync_fence *fence = kzalloc(sizeof(*fence), GFP_KERNEL_ACCOUNT);
	u64 context;

	if (!fence)
		return NULL;
	context = dma_fence_context_alloc(1);
	if (xa_insert_irq(&job_fences, context, &fence->base, GFP_KERNEL_ACCOUNT)) {
		kfree(fence);
		return NULL;
	}
	__module_get(THIS_MODULE);
	spin_lock_init(&fence->lock);
	strscpy(fence->name, name, sizeof(fence->name));
	dma_fence_init(&fence->base, &fence_ops, &fence->lock, context, 1);
	return &fence->base;
}

static void unlock_resvs(struct dsync_request *request, unsigned long *locked)
{
	unsigned int i;

	for_each_set_bit(i, locked, request->count)
		dma_resv_unlock(request->accesses[i].resv);
	bitmap_zero(locked, request->count);
}

static int lock_resv(struct dma_resv *resv, struct ww_acquire_ctx *ctx, bool slow,
		     bool interruptible)
{
	if (slow && !interruptible) {
		dma_resv_lock_slow(resv, ctx);
		return 0;
	}
	if (slow)
		return dma_resv_lock_slow_interruptible(resv, ctx);
	if (interruptible)
		return dma_resv_lock_interruptible(resv, ctx);
	return dma_resv_lock(resv, ctx);
}

/* Sets a bit of @locked for each buffer; buffers that share a dma_resv get one. */
static int lock_resvs(struct dsync_request *request, struct ww_acquire_ctx *ctx,
		      unsigned long *locked, bool interruptible)
{
	unsigned int contended = request->count, i;
	int err;

again:
	if (contended < request->count) {
		err = lock_resv(request->accesses[contended].resv, ctx, true, interruptible);
		if (err)
			return err;
		__set_bit(contended, locked);
	}
	for (i = 0; i < request->count; i++) {
		if (test_bit(i, locked))
			continue;
		err = lock_resv(request->accesses[i].resv, ctx, false, interruptible);
		if (!err) {
			__set_bit(i, locked);
		} else if (err != -EALREADY) {
			unlock_resvs(request, locked);
			if (err != -EDEADLK)
				return err;
			contended = i;
			goto again;
		}
	}
	return 0;
}

static bool any_range(const struct dsync_request *request)
{
	const struct dsync_access *access;

	for_each_access(access, request)
		if (!dsync_dma_overlap(access, access->dmabuf, 0, 0) ||
		    !dsync_dma_overlap(access, access->dmabuf, OFFSET_MAX, OFFSET_MAX))
			return true;
	return false;
}

/* Without memory for it the CPU only waits longer. */
static void remember_ranges(struct dma_fence *fence, const struct dsync_request *request)
{
	struct dsync_fence *ours = container_of(fence, struct dsync_fence, base);
	struct dsync_access *accesses;

	if (!any_range(request))
		return;
	accesses = kmemdup(request->accesses, array_size(request->count, sizeof(*accesses)),
			   GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!accesses)
		return;
	ours->count = request->count;
	/* Pairs with dsync_fence_elsewhere(), which may find it now. */
	smp_store_release(&ours->accesses, accesses);
}

static bool is_job_fence(const struct dma_fence *fence)
{
	return xa_load(&job_fences, fence->context) == fence;
}

/**
 * dsync_fence_elsewhere - is this a job that uses other bytes?
 * @fence: fence on the buffer of @access; a reference
 * @access: access of the CPU
 *
 * Returns: true if @access need not wait for it.
 */
bool dsync_fence_elsewhere(struct dma_fence *fence, const struct dsync_access *access)
{
	const struct dsync_access *accesses;
	struct dsync_fence *ours;
	bool found = false;
	unsigned int i;

	if (!dsync_has_ranges(access) || !is_job_fence(fence))
		return false;
	ours = container_of(fence, struct dsync_fence, base);
	/* Pairs with remember_ranges(). */
	accesses = smp_load_acquire(&ours->accesses);
	if (!accesses)
		return false;
	for (i = 0; i < ours->count; i++) {
		if (accesses[i].resv != access->resv)
			continue;
		if (dsync_dma_overlap(&accesses[i], access->dmabuf, access->start, access->end))
			return false;
		found = true;
	}
	return found;
}

static enum dma_resv_usage usage_before(const struct dsync_access *access)
{
	return dma_resv_usage_rw(access->type & DMABUF_SYNC_WRITE);
}

static bool comes_before(const struct dmabuf_sync *sync, struct dma_resv_iter *cursor,
			 const struct dma_fence *fence)
{
	return !sync->job.explicit || dma_resv_iter_usage(cursor) == DMA_RESV_USAGE_KERNEL ||
	       is_job_fence(fence);
}

/* The fences that come before the job. All reservation objects are locked. */
static struct dsync_gate *collect_fences(struct dmabuf_sync *sync)
{
	struct dsync_request *request = &sync->request;
	struct dsync_job *job = &sync->job;
	struct dsync_access *access;
	struct dma_resv_iter cursor;
	struct dma_fence *fence;
	struct dsync_gate *gate;
	unsigned int count = 0;

	for_each_access(access, request)
		dma_resv_for_each_fence(&cursor, access->resv, usage_before(access), fence)
			count += comes_before(sync, &cursor, fence);
	gate = dsync_gate_alloc(count + job->in_fence_count);
	if (!gate)
		return NULL;
	count = 0;
	for_each_access(access, request)
		dma_resv_for_each_fence(&cursor, access->resv, usage_before(access), fence)
			if (comes_before(sync, &cursor, fence))
				gate->slots[count++].fence = dma_fence_get(fence);
	/* The gate has their references now. */
	while (job->in_fence_count)
		gate->slots[count++].fence = job->in_fences[--job->in_fence_count];
	return gate;
}

/**
 * dsync_fence_publish - put the fence of a job on all its buffers
 * @sync: granted job
 * @fence: its fence
 * @interruptible: the caller is a task that can take a signal
 *
 * Foreign drivers hold dma_resv locks for long: never call this to release
 * something. On success job.gate has the fences that come before.
 *
 * Returns: 0; -EINTR; -ENOMEM. Nothing has happened on error.
 */
int dsync_fence_publish(struct dmabuf_sync *sync, struct dma_fence *fence, bool interruptible)
{
	struct dsync_request *request = &sync->request;
	struct dsync_access *access;
	struct dsync_gate *gate;
	struct ww_acquire_ctx ctx;
	unsigned long *locked;
	unsigned int i, shared;
	int err;

	locked = bitmap_zalloc(request->count, GFP_KERNEL);
	if (!locked)
		return -ENOMEM;
	remember_ranges(fence, request);
	ww_acquire_init(&ctx, &reservation_ww_class);
	err = lock_resvs(request, &ctx, locked, interruptible);
	if (err)
		goto fini;
	ww_acquire_done(&ctx);

	/* Buffers that share a reservation object add the fence there more than once. */
	shared = request->count - bitmap_weight(locked, request->count);
	for_each_set_bit(i, locked, request->count) {
		err = dma_resv_reserve_fences(request->accesses[i].resv, 1 + shared);
		if (err)
			goto unlock;
	}
	err = -ENOMEM;
	gate = collect_fences(sync);
	if (!gate)
		goto unlock;

	for_each_access(access, request)
		dma_resv_add_fence(access->resv, fence,
				   access->type & DMABUF_SYNC_WRITE ?
				   DMA_RESV_USAGE_WRITE : DMA_RESV_USAGE_READ);
	sync->job.gate = gate;
	err = 0;
unlock:
	unlock_resvs(request, locked);
fini:
	ww_acquire_fini(&ctx);
	bitmap_free(locked);
	return err;
}
