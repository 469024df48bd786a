// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmabuf-sync: what the next job of a sync object waits for, beside its buffers.
 */
#include <linux/dma-fence.h>
#include <linux/export.h>
#include <linux/slab.h>

#include "sync.h"

/**
 * dmabuf_sync_add_fence - let the next job also wait for a fence
 * @sync: idle object
 * @fence: any fence; a reference is taken. Its error does not matter.
 *
 * Returns: 0; -EBUSY; -ENOMEM.
 */
int dmabuf_sync_add_fence(struct dmabuf_sync *sync, struct dma_fence *fence)
{
	struct dsync_job *job = &sync->job;
	struct dma_fence **fences;
	int err = -EBUSY;

	mutex_lock(&sync->mutex);
	if (sync->state != DSYNC_SYNC_IDLE)
		goto unlock;
	err = -ENOMEM;
	fences = krealloc_array(job->in_fences, job->in_fence_count + 1, sizeof(*fences),
				GFP_KERNEL_ACCOUNT);
	if (!fences)
		goto unlock;
	fences[job->in_fence_count++] = dma_fence_get(fence);
	job->in_fences = fences;
	err = 0;
unlock:
	mutex_unlock(&sync->mutex);
	return err;
}
EXPORT_SYMBOL_GPL(dmabuf_sync_add_fence);

/**
 * dmabuf_sync_set_explicit - choose between implicit and explicit synchronisation
 * @sync: idle object
 * @explicit: its jobs do not wait for the fences that other drivers have left on
 *	the buffers, only for those of dmabuf_sync_add_fence(), for other jobs and until
 *	the kernel has moved the memory
 *
 * Such a job also waits for the CPU's locks and is a fence on its buffers.
 *
 * Returns: 0 or -EBUSY.
 */
int dmabuf_sync_set_explicit(struct dmabuf_sync *sync, bool explicit)
{
	int err = -EBUSY;

	mutex_lock(&sync->mutex);
	if (sync->state == DSYNC_SYNC_IDLE) {
		sync->job.explicit = explicit;
		err = 0;
	}
	mutex_unlock(&sync->mutex);
	return err;
}
EXPORT_SYMBOL_GPL(dmabuf_sync_set_explicit);

/**
 * dmabuf_sync_set_device - say that a device has its own view of memory
 * @sync: idle object
 * @device: by which it is known; NULL, as it is at first, for devices that see
 *	memory as it is
 *
 * If its caches are not coherent or its DMA is bounced, a mapping is a copy that is
 * brought up to date by mapping and given back by unmapping. So jobs of different
 * devices wait in the queue until the one before is unmapped: their fences would
 * order the DMA, but not the copies. Jobs of one device share the copy.
 *
 * Returns: 0 or -EBUSY.
 */
int dmabuf_sync_set_device(struct dmabuf_sync *sync, const struct device *device)
{
	int err = -EBUSY;

	mutex_lock(&sync->mutex);
	if (sync->state == DSYNC_SYNC_IDLE) {
		sync->request.device = device;
		err = 0;
	}
	mutex_unlock(&sync->mutex);
	return err;
}
EXPORT_SYMBOL_GPL(dmabuf_sync_set_device);
