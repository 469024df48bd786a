// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmabuf-sync: DMA that is queued now and ends later.
 */
#include <linux/dma-fence.h>
#include <linux/export.h>
#include <linux/slab.h>

#include "sync.h"
#include "trace.h"

/**
 * DOC: jobs
 *
 * A driver that runs DMA in the background submits its sync object instead of
 * locking it:
 *
 *	err = dmabuf_sync_submit(sync, granted);
 *	...
 *	ops->prepare()		the CPU is off the buffers: map them
 *	granted()		the job is a fence on all its buffers
 *	ops->start()		fences before it have signalled: start the DMA
 *	dmabuf_sync_running(sync)	the hardware begins; only if ops->queues
 *	dmabuf_sync_done(sync, err)
 *	ops->finish()		unmap; the buffers are given back after it
 *
 * A job waits in the queues like any other request, as long as the CPU holds
 * one of its buffers. Jobs do not wait for each other there: their fences order
 * them. So a job is granted, and visible to everybody as a fence, as soon as
 * no CPU hold keeps it back, and from then on depends on fences only. The
 * exception are devices that do not see memory as it is, see
 * dmabuf_sync_set_device().
 *
 * From the publishing of the fence to dmabuf_sync_done() is the fence
 * signalling path: nothing is allocated in it, and no lock is taken that is
 * held over an allocation. The buffers are given back by a work item after it.
 *
 * The watchdog counts from the moment the hardware begins. A driver with a
 * queue in front of its hardware has to say when that is (ops->queues), or jobs
 * would time out behind others that are merely long. The wait in such a queue
 * is finite because every job in front has a watchdog.
 */

static void set_job_state(struct dmabuf_sync *sync, unsigned int state)
{
	sync->job.times[state] = ktime_get_ns();
	/* Pairs with dsync_job_state(): who sees it sees what came before. */
	smp_store_release(&sync->job.state, state);
	wake_up_all(&sync->wait);
}

static DEFINE_USER_LIMIT(jobs);

/* The job is off its queues: the object may be used again. */
static void job_over(struct dmabuf_sync *sync)
{
	user_limit_uncharge(&jobs, sync->job.user);
	mutex_lock(&sync->mutex);
	dsync_sync_detach_queues_locked(sync, DSYNC_SYNC_IDLE);
	set_job_state(sync, DMABUF_SYNC_JOB_DONE);
	mutex_unlock(&sync->mutex);
	dsync_sync_put_user(sync);
	module_put(THIS_MODULE);
}

/* Its fence is on its buffers: jobs behind it need not wait for more. */
static void let_jobs_pass(struct dmabuf_sync *sync, struct dma_fence *fence)
{
	struct dsync_access *access;
	LIST_HEAD(candidates);

	/* The mutex keeps the queues in place, unless the job is over by now. */
	mutex_lock(&sync->mutex);
	if (sync->state == DSYNC_SYNC_JOB && sync->job.fence == fence) {
		for_each_access(access, &sync->request) {
			dsync_queue_lock(access->queue);
			access->flags &= ~DSYNC_PENDING;
			dsync_queue_scan(access->queue, &candidates);
			dsync_queue_unlock(access->queue);
		}
	}
	mutex_unlock(&sync->mutex);
	dsync_grant_candidates(&candidates);
}

/* Once granted: map, publish and wait for the fences before it. */
static int publish(struct dmabuf_sync *sync, bool interruptible)
{
	struct dsync_job *job = &sync->job;
	struct dma_fence *fence;
	bool cookie;
	int err = 0;

	if (sync->ops->prepare)
		err = sync->ops->prepare(sync, sync->priv);
	if (err)
		return err;
	err = dsync_fence_publish(sync, job->fence, interruptible);
	if (err) {
		if (sync->ops->finish)
			sync->ops->finish(sync, sync->priv);
		return err;
	}
	cookie = dma_fence_begin_signalling();
	fence = dma_fence_get(job->fence);
	kref_get(&sync->ref);
	trace_dmabuf_sync_job_publish(sync, 0);
	set_job_state(sync, DMABUF_SYNC_JOB_GRANTED);
	if (job->granted)
		job->granted(sync, sync->priv, 0);
	/* Once armed it may end at any time. */
	dsync_gate_arm(job->gate, dsync_signal_wq, &job->start_work);
	dma_fence_end_signalling(cookie);

	let_jobs_pass(sync, fence);
	dma_fence_put(fence);
	dsync_sync_put(sync);
	return 0;
}

static void grant_work(struct work_struct *work)
{
	struct dsync_job *job = container_of(work, struct dsync_job, grant_work);
	struct dmabuf_sync *sync = container_of(job, struct dmabuf_sync, job);
	int err = publish(sync, false);

	if (!err)
		return;
	job->status = err;
	dsync_release_request(&sync->request);
	if (job->granted)
		job->granted(sync, sync->priv, err);
	job_over(sync);
}

/* Called with queues locked. */
void dsync_job_granted(struct dsync_request *request)
{
	struct dmabuf_sync *sync = container_of(request, struct dmabuf_sync, request);

	queue_work(dsync_wq, &sync->job.grant_work);
}

static void job_runs(struct dmabuf_sync *sync)
{
	trace_dmabuf_sync_job_start(sync, 0);
	dsync_count(JOB_START);
	set_job_state(sync, DMABUF_SYNC_JOB_RUNNING);
}

static void watch(struct dmabuf_sync *sync)
{
	queue_delayed_work(dsync_signal_wq, &sync->job.watchdog, dsync_job_timeout());
}

static void start_work(struct work_struct *work)
{
	struct dsync_job *job = container_of(work, struct dsync_job, start_work);
	struct dmabuf_sync *sync = container_of(job, struct dmabuf_sync, job);
	bool cookie = dma_fence_begin_signalling();

	set_bit(DSYNC_JOB_STARTED, &job->flags);
	if (!sync->ops->queues)
		job_runs(sync);
	sync->ops->start(sync, sync->priv);
	/* Not before: what was not started yet cannot be stopped. finish_work() waits for us. */
	if (!sync->ops->queues)
		watch(sync);
	dma_fence_end_signalling(cookie);
}

/**
 * dmabuf_sync_running - the hardware begins with a started job
 * @sync: job of a driver with ops->queues, not done yet
 *
 * Once for each job, from any context. Its watchdog counts from now on.
 */
void dmabuf_sync_running(struct dmabuf_sync *sync)
{
	if (WARN_ON_ONCE(!sync->ops->queues))
		return;
	job_runs(sync);
	watch(sync);
}
EXPORT_SYMBOL_GPL(dmabuf_sync_running);

static void watchdog_work(struct work_struct *work)
{
	struct dsync_job *job = container_of(to_delayed_work(work), struct dsync_job, watchdog);
	struct dmabuf_sync *sync = container_of(job, struct dmabuf_sync, job);
	bool cookie = dma_fence_begin_signalling();

	if (sync->ops->stop)
		sync->ops->stop(sync, sync->priv);
	dmabuf_sync_done(sync, -ETIMEDOUT);
	dma_fence_end_signalling(cookie);
}

static void finish_work(struct work_struct *work)
{
	struct dsync_job *job = container_of(work, struct dsync_job, finish_work);
	struct dmabuf_sync *sync = container_of(job, struct dmabuf_sync, job);

	/* It may be what ended the job. And start() may not have returned yet. */
	flush_work(&job->start_work);
	cancel_delayed_work_sync(&job->watchdog);
	if (sync->ops->finish)
		sync->ops->finish(sync, sync->priv);
	dsync_release_request(&sync->request);
	dsync_gate_free(job->gate);
	job->gate = NULL;
	job_over(sync);
}

void dsync_job_init(struct dmabuf_sync *sync)
{
	struct dsync_job *job = &sync->job;

	INIT_WORK(&job->grant_work, grant_work);
	INIT_WORK(&job->start_work, start_work);
	INIT_WORK(&job->finish_work, finish_work);
	INIT_DELAYED_WORK(&job->watchdog, watchdog_work);
}

void dsync_job_fini(struct dmabuf_sync *sync)
{
	struct dsync_job *job = &sync->job;

	while (job->in_fence_count)
		dma_fence_put(job->in_fences[--job->in_fence_count]);
	kfree(job->in_fences);
	dma_fence_put(job->fence);
}

static bool all_dma(struct dmabuf_sync *sync)
{
	struct dsync_access *access;

	for_each_access(access, &sync->request)
		if (!(access->type & DMABUF_SYNC_DMA))
			return false;
	return true;
}

/* Returns with the object in DSYNC_SYNC_JOB and references taken, or unchanged. */
static int begin_job(struct dmabuf_sync *sync, dmabuf_sync_granted_t granted)
{
	struct dsync_job *job = &sync->job;
	struct dsync_access *access;
	struct user_count *user;
	struct dma_fence *fence;
	int err;

	user = user_limit_charge(&jobs, dsync_max_user_jobs());
	if (IS_ERR(user))
		return PTR_ERR(user);
	err = -ENOMEM;
	fence = dsync_fence_create(sync->name);
	if (!fence)
		goto uncharge;

	mutex_lock(&sync->mutex);
	err = -EBUSY;
	if (sync->state != DSYNC_SYNC_IDLE)
		goto unlock;
	err = -EINVAL;
	if (!sync->request.count || !all_dma(sync) || !sync->ops || !sync->ops->start ||
	    !sync->ops->stop)
		goto unlock;
	err = dsync_sync_attach_queues(sync);
	if (err)
		goto unlock;
	for_each_access(access, &sync->request)
		access->flags |= DSYNC_JOB;
	sync->request.granted = dsync_job_granted;
	sync->state = DSYNC_SYNC_JOB;
	dma_fence_put(job->fence);
	job->fence = fence;
	job->user = user;
	job->granted = granted;
	job->status = 0;
	job->flags = 0;
	memset(job->times, 0, sizeof(job->times));
	set_job_state(sync, DMABUF_SYNC_JOB_QUEUED);
	kref_get(&sync->ref);
	refcount_inc(&sync->users);
	__module_get(THIS_MODULE);
	mutex_unlock(&sync->mutex);
	return 0;

unlock:
	mutex_unlock(&sync->mutex);
	dma_fence_put(fence);
uncharge:
	user_limit_uncharge(&jobs, user);
	return err;
}

/**
 * dmabuf_sync_submit - queue DMA
 * @sync: idle object with DMA accesses only, ops->start and ops->stop
 * @granted: called when the job's fence is on its buffers, or never will be;
 *	perhaps before this returns. May be NULL.
 *
 * Returns: 0 when it is queued; -EINVAL empty, CPU accesses or no ops->start or ops->stop;
 * -EBUSY; -ENOSPC the user has too many; -ENOMEM; -EINTR; what ops->prepare says. On
 * error no callback but ops->prepare and ops->finish has been called, or will be.
 */
int dmabuf_sync_submit(struct dmabuf_sync *sync, dmabuf_sync_granted_t granted)
{
	int err = begin_job(sync, granted);
	LIST_HEAD(candidates);

	if (err)
		return err;
	err = dsync_sync_acquire(sync, DSYNC_LOCK_WAIT, &candidates);
	dsync_grant_candidates(&candidates);
	if (err == -EINPROGRESS)
		return 0;
	if (!err) {
		err = publish(sync, true);
		if (!err)
			return 0;
		dsync_release_request(&sync->request);
	}
	sync->job.status = err;
	job_over(sync);
	return err;
}
EXPORT_SYMBOL_GPL(dmabuf_sync_submit);

/**
 * dmabuf_sync_done - the DMA of a started job is over
 * @sync: job
 * @err: 0 or a negative errno for the fence
 *
 * From any context. Only the first call for a job counts: the watchdog may
 * have been faster. A job that has not been started has fences before it: to
 * end it is a bug of the caller, and does nothing.
 */
void dmabuf_sync_done(struct dmabuf_sync *sync, int err)
{
	struct dsync_job *job = &sync->job;

	if (WARN_ON_ONCE(!dsync_job_was_submitted(sync) ||
			 !test_bit(DSYNC_JOB_STARTED, &job->flags)))
		return;
	if (test_and_set_bit(DSYNC_JOB_ENDED, &job->flags))
		return;
	job->status = err;
	if (err)
		dma_fence_set_error(job->fence, err);
	trace_dmabuf_sync_job_end(sync, err);
	dsync_count(JOB_END);
	dma_fence_signal(job->fence);
	queue_work(dsync_wq, &job->finish_work);
}
EXPORT_SYMBOL_GPL(dmabuf_sync_done);

/**
 * dmabuf_sync_cancel - take back a job that was not granted
 * @sync: submitted job
 *
 * Returns: 0, then no callback follows but ops->free; -EBUSY it has been
 * granted, or has ended.
 */
int dmabuf_sync_cancel(struct dmabuf_sync *sync)
{
	struct dsync_request *request = &sync->request;
	bool cancelled = false;
	LIST_HEAD(candidates);
	struct dsync_txn txn;

	/*
	 * The mutex keeps the queues in place; see job_over(). With them locked whoever
	 * grants it has queued its work item by now, for dmabuf_sync_flush() to find.
	 */
	mutex_lock(&sync->mutex);
	if (sync->state == DSYNC_SYNC_JOB) {
		dsync_txn_begin(&txn);
		dsync_txn_lock_request(&txn, request);
		cancelled = request->state == DSYNC_WAITING;
		if (cancelled)
			dsync_request_dequeue(request, &candidates);
		dsync_txn_end(&txn);
	}
	mutex_unlock(&sync->mutex);
	dsync_grant_candidates(&candidates);
	if (!cancelled)
		return -EBUSY;

	sync->job.status = -ECANCELED;
	job_over(sync);
	return 0;
}
EXPORT_SYMBOL_GPL(dmabuf_sync_cancel);
