// SPDX-License-Identifier: GPL-2.0-only
/*
 * vblit: jobs, from the ioctl to the last callback.
 */
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "vblit.h"

/**
 * DOC: jobs
 *
 * A job is checked and its buffers attached before it is submitted to the
 * framework. From there on the framework calls: prepare (map the buffers),
 * start (hand it to the engine), stop (the watchdog), finish (unmap), free.
 *
 * As long as a job can be cancelled it is in the list of the file that
 * submitted it. Whoever takes it off that list gives back the driver's
 * reference to the sync object, which the list owns: the submitter if it
 * fails, finish when it has run, or the last close of the file, which cancels
 * what was not granted and leaves the rest to itself.
 */

/**
 * vblit_job_leave_list - the job cannot be cancelled any more
 * @job: job
 *
 * Returns: true if it could; then the caller gives back the list's reference.
 */
bool vblit_job_leave_list(struct vblit_job *job)
{
	bool listed;

	mutex_lock(&job->vdev->jobs_lock);
	listed = !list_empty(&job->node);
	list_del_init(&job->node);
	mutex_unlock(&job->vdev->jobs_lock);
	return listed;
}

static int job_prepare(struct dmabuf_sync *sync, void *priv)
{
	struct vblit_job *job = priv;
	unsigned int i;
	int err;

	for (i = 0; i < job->buffer_count; i++) {
		err = vblit_map(job->vdev, job->buffers[i]);
		if (err)
			goto unmap;
	}
	return 0;

unmap:
	while (i--)
		vblit_unmap(job->vdev, job->buffers[i]);
	return err;
}

static void job_start(struct dmabuf_sync *sync, void *priv)
{
	vblit_engine_run(priv);
}

static void job_stop(struct dmabuf_sync *sync, void *priv)
{
	vblit_engine_drop(priv);
}

static void job_finish(struct dmabuf_sync *sync, void *priv)
{
	struct vblit_job *job = priv;
	unsigned int i;

	for (i = 0; i < job->buffer_count; i++)
		vblit_unmap(job->vdev, job->buffers[i]);
	if (vblit_job_leave_list(job))
		dmabuf_sync_fini(sync);
}

/**
 * vblit_job_granted - for dmabuf_sync_submit()
 * @sync: of the job
 * @priv: job
 * @err: 0; or it could not be granted after all: finish, if it was called at
 *	all, has given back the reference
 */
void vblit_job_granted(struct dmabuf_sync *sync, void *priv, int err)
{
	if (err && vblit_job_leave_list(priv))
		dmabuf_sync_fini(sync);
}

/**
 * vblit_job_free - free a job that was not handed to vblit_job_sync()
 * @job: job
 */
void vblit_job_free(struct vblit_job *job)
{
	while (job->buffer_count)
		vblit_detach(job->vdev, job->buffers[--job->buffer_count]);
	vblit_device_put(job->vdev);
	kvfree(job->buffers);
	kvfree(job);
}

static void job_free(void *priv)
{
	vblit_job_free(priv);
	/* vblit_exit() waits for us to return. */
	module_put(THIS_MODULE);
}

static const struct dmabuf_sync_ops job_ops = {
	.prepare = job_prepare,
	.start = job_start,
	.queues = true,
	.stop = job_stop,
	.finish = job_finish,
	.free = job_free,
};

static bool reads_dst(const struct vblit_job *job)
{
	unsigned int i;

	for (i = 0; i < job->step_count; i++)
		if (job->steps[i].src == job->dst ||
		    (job->steps[i].op.flags & VBLIT_OP_BLEND))
			return true;
	return false;
}

static void add_span(const struct vblit_op *op, const struct vblit_rect *rect,
		     u64 *start, u64 *end)
{
	u64 op_start, op_end;

	vblit_op_span(op, rect, &op_start, &op_end);
	*start = min(*start, op_start);
	*end = max(*end, op_end);
}

/* From the first byte of a buffer that the job touches to behind the last. */
static void job_span(const struct vblit_job *job, const struct vblit_attachment *buffer,
		     u64 *start, u64 *end)
{
	unsigned int i;

	*start = U64_MAX;
	*end = 0;
	for (i = 0; i < job->step_count; i++) {
		const struct vblit_step *step = &job->steps[i];

		if (step->src == buffer)
			add_span(&step->op, &step->op.src, start, end);
		if (job->dst == buffer)
			add_span(&step->op, &step->op.dst, start, end);
	}
}

/**
 * vblit_job_sync - make the sync object of a job
 * @job: job; taken over: it is freed through the sync object, also on error
 *
 * Returns: the object with all buffers, or an ERR_PTR.
 */
struct dmabuf_sync *vblit_job_sync(struct vblit_job *job)
{
	struct dmabuf_sync *sync;
	unsigned int i, type;
	u64 start, end;
	int err;

	sync = dmabuf_sync_init(job->vdev->backend->name, &job_ops, job);
	if (IS_ERR(sync)) {
		vblit_job_free(job);
		return sync;
	}
	__module_get(THIS_MODULE);
	job->sync = sync;
	if (job->vdev->own_view)
		dmabuf_sync_set_device(sync, job->vdev->dev);
	for (i = 0; i < job->buffer_count; i++) {
		if (job->buffers[i] != job->dst)
			type = DMA_BUF_ACCESS_DMA_R;
		else
			type = reads_dst(job) ? DMA_BUF_ACCESS_DMA_RW : DMA_BUF_ACCESS_DMA_W;
		job_span(job, job->buffers[i], &start, &end);
		err = dmabuf_sync_get_range(sync, job->buffers[i]->dmabuf, type, start,
					    end - start);
		if (err) {
			dmabuf_sync_fini(sync);
			return ERR_PTR(err);
		}
	}
	return sync;
}

/* The newest job of a file, or of any file. */
static struct vblit_job *take_job(struct vblit_device *vdev, struct vblit_file *vfile)
{
	struct vblit_job *job = NULL;
	struct vblit_file *each;

	mutex_lock(&vdev->jobs_lock);
	list_for_each_entry(each, &vdev->files, node) {
		if ((vfile && each != vfile) || list_empty(&each->jobs))
			continue;
		job = list_last_entry(&each->jobs, struct vblit_job, node);
		list_del_init(&job->node);
		break;
	}
	mutex_unlock(&vdev->jobs_lock);
	return job;
}

/**
 * vblit_cancel_jobs - a file is closed, or the device goes: take back what was not granted
 * @vdev: device
 * @vfile: file, or NULL for all
 *
 * The newest first: a job that another one kept back must not be granted
 * because that one goes.
 */
void vblit_cancel_jobs(struct vblit_device *vdev, struct vblit_file *vfile)
{
	struct vblit_job *job;

	while ((job = take_job(vdev, vfile))) {
		struct dmabuf_sync *sync = job->sync;

		dmabuf_sync_cancel(sync);
		dmabuf_sync_fini(sync);
	}
}
