// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmabuf-sync: how far a job is, and waiting for it.
 */
#include <linux/export.h>

#include "sync.h"

/**
 * dsync_job_state - how far is it?
 * @sync: an object that was submitted
 *
 * Returns: DMABUF_SYNC_JOB_*; what belongs to that state can be read.
 */
int dsync_job_state(struct dmabuf_sync *sync)
{
	/* Pairs with set_job_state(). */
	return smp_load_acquire(&sync->job.state);
}

/**
 * dsync_job_was_submitted - has it ever been a job?
 * @sync: object
 *
 * Returns: if not, its state says nothing and there is nothing to wait for.
 */
bool dsync_job_was_submitted(const struct dmabuf_sync *sync)
{
	return READ_ONCE(sync->job.fence);
}

/**
 * dsync_job_has_ended - is its driver giving the buffers back?
 * @request: of a job that was granted
 *
 * Returns: true once its fence is about to signal.
 */
bool dsync_job_has_ended(const struct dsync_request *request)
{
	const struct dmabuf_sync *sync = container_of(request, struct dmabuf_sync, request);

	return test_bit(DSYNC_JOB_ENDED, &sync->job.flags);
}

/**
 * dsync_job_wait_over - sleep until a job that has ended has given its buffers back
 * @request: of the job, with a reference
 *
 * Returns: 0 or -ERESTARTSYS when killed.
 */
int dsync_job_wait_over(const struct dsync_request *request)
{
	struct dmabuf_sync *sync = container_of(request, struct dmabuf_sync, request);

	/* It may be another job by now. */
	return wait_event_killable(sync->wait, !dsync_job_has_ended(request) ||
				   dsync_job_state(sync) == DMABUF_SYNC_JOB_DONE);
}

static int granted_status(struct dmabuf_sync *sync)
{
	return sync->job.times[DMABUF_SYNC_JOB_GRANTED] ? 0 : sync->job.status;
}

/**
 * dmabuf_sync_wait_granted - sleep until a job is granted
 * @sync: submitted job
 *
 * Returns: 0; -ERESTARTSYS; why it could not be granted; -EINVAL it was never
 * submitted, which is a bug of the caller.
 */
int dmabuf_sync_wait_granted(struct dmabuf_sync *sync)
{
	int err;

	if (WARN_ON_ONCE(!dsync_job_was_submitted(sync)))
		return -EINVAL;
	err = wait_event_interruptible(sync->wait,
				       dsync_job_state(sync) != DMABUF_SYNC_JOB_QUEUED);
	return err ?: granted_status(sync);
}
EXPORT_SYMBOL_GPL(dmabuf_sync_wait_granted);

/**
 * dmabuf_sync_wait_granted_killable - as dmabuf_sync_wait_granted()
 * @sync: submitted job
 *
 * For who was told by dmabuf_sync_cancel() that the job is past taking back: its
 * fence is being published, which no CPU hold can delay.
 *
 * Returns: 0; -ERESTARTSYS when killed; why it could not be granted.
 */
int dmabuf_sync_wait_granted_killable(struct dmabuf_sync *sync)
{
	int err = wait_event_killable(sync->wait,
				      dsync_job_state(sync) != DMABUF_SYNC_JOB_QUEUED);

	return err ?: granted_status(sync);
}
EXPORT_SYMBOL_GPL(dmabuf_sync_wait_granted_killable);

/**
 * dmabuf_sync_wait_done - sleep until a job has ended and its buffers are free
 * @sync: submitted job
 */
void dmabuf_sync_wait_done(struct dmabuf_sync *sync)
{
	if (WARN_ON_ONCE(!dsync_job_was_submitted(sync)))
		return;
	wait_event(sync->wait, dsync_job_state(sync) == DMABUF_SYNC_JOB_DONE);
}
EXPORT_SYMBOL_GPL(dmabuf_sync_wait_done);

/**
 * dmabuf_sync_fence - the fence of a job
 * @sync: submitted job
 *
 * Returns: a reference; ERR_PTR(-EAGAIN) before it is granted; why it could
 * not be granted; ERR_PTR(-EINVAL) when it was never submitted.
 */
struct dma_fence *dmabuf_sync_fence(struct dmabuf_sync *sync)
{
	if (!dsync_job_was_submitted(sync))
		return ERR_PTR(-EINVAL);
	if (dsync_job_state(sync) == DMABUF_SYNC_JOB_QUEUED)
		return ERR_PTR(-EAGAIN);
	if (!sync->job.times[DMABUF_SYNC_JOB_GRANTED])
		return ERR_PTR(sync->job.status);
	return dma_fence_get(sync->job.fence);
}
EXPORT_SYMBOL_GPL(dmabuf_sync_fence);
