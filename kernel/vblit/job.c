// SPDX-License-Identifier: GPL-2.0-only
/*
 * vblit: jobs, from the ioctl to the last callback.
 */
#include <linux/dma-fence.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

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

static bool leave_list(struct vblit_job *job)
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
		vblit_unmap(job->buffers[i]);
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
		vblit_unmap(job->buffers[i]);
	if (leave_list(job))
		dmabuf_sync_fini(sync);
}

/* Could not be granted after all; finish, if it was called at all, has fini'd it. */
static void job_granted(struct dmabuf_sync *sync, void *priv, int err)
{
	if (err && leave_list(priv))
		dmabuf_sync_fini(sync);
}

static void free_job(struct vblit_job *job)
{
	while (job->buffer_count)
		vblit_detach(job->vdev, job->buffers[--job->buffer_count]);
	kvfree(job->buffers);
	kvfree(job);
}

static void job_free(void *priv)
{
	free_job(priv);
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

/* The attachment of a buffer, counted once for the job; EBADF, EINVAL, what the exporter says. */
static struct vblit_attachment *job_buffer(struct vblit_job *job, int fd, fmode_t mode)
{
	struct vblit_attachment *attachment;
	struct dma_buf *dmabuf;
	unsigned int i;

	dmabuf = dma_buf_get(fd);
	if (IS_ERR(dmabuf))
		return ERR_CAST(dmabuf);
	if (!(dmabuf->file->f_mode & mode)) {
		attachment = ERR_PTR(-EBADF);
		goto put;
	}
	for (i = 0; i < job->buffer_count; i++) {
		attachment = job->buffers[i];
		if (attachment->dmabuf == dmabuf)
			goto put;
	}
	attachment = vblit_attach(job->vdev, dmabuf);
	if (!IS_ERR(attachment))
		job->buffers[job->buffer_count++] = attachment;
put:
	dma_buf_put(dmabuf);
	return attachment;
}

/* job->dst is set, and job->steps[].op is as user space gave it. */
static int check_steps(struct vblit_job *job)
{
	u64 dst_size = job->dst->dmabuf->size;
	unsigned int i;
	int err;

	for (i = 0; i < job->step_count; i++) {
		struct vblit_step *step = &job->steps[i];

		if (step->op.op == VBLIT_OP_COPY || step->op.op == VBLIT_OP_BLIT) {
			step->src = job_buffer(job, step->op.src_fd, FMODE_READ);
			if (IS_ERR(step->src))
				return PTR_ERR(step->src);
		}
		err = vblit_check_op(&step->op, dst_size,
				     step->src ? step->src->dmabuf->size : 0,
				     step->src == job->dst);
		if (err)
			return err;
	}
	return 0;
}

static struct vblit_job *make_job(struct vblit_device *vdev, const struct vblit_submit *submit)
{
	const struct vblit_op __user *ops = u64_to_user_ptr(submit->ops);
	struct vblit_job *job;
	unsigned int i;
	int err;

	job = kvzalloc(struct_size(job, steps, submit->num_ops), GFP_KERNEL_ACCOUNT);
	if (!job)
		return ERR_PTR(-ENOMEM);
	job->vdev = vdev;
	INIT_LIST_HEAD(&job->node);
	INIT_LIST_HEAD(&job->engine_node);
	job->step_count = submit->num_ops;
	err = -ENOMEM;
	job->buffers = kvcalloc(submit->num_ops + 1, sizeof(*job->buffers), GFP_KERNEL_ACCOUNT);
	if (!job->buffers)
		goto free;
	err = -EFAULT;
	for (i = 0; i < job->step_count; i++)
		if (copy_from_user(&job->steps[i].op, &ops[i], sizeof(ops[i])))
			goto free;

	job->dst = job_buffer(job, submit->dst_fd, FMODE_WRITE);
	err = PTR_ERR_OR_ZERO(job->dst);
	if (!err)
		err = check_steps(job);
	if (err)
		goto free;
	return job;

free:
	free_job(job);
	return ERR_PTR(err);
}

static bool reads_dst(const struct vblit_job *job)
{
	unsigned int i;

	for (i = 0; i < job->step_count; i++)
		if (job->steps[i].src == job->dst)
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

/* Takes the job over: it is freed through the sync object from then on. */
static struct dmabuf_sync *make_sync(struct vblit_job *job)
{
	struct dmabuf_sync *sync;
	unsigned int i, type;
	u64 start, end;
	int err;

	sync = dmabuf_sync_init("vblit", &job_ops, job);
	if (IS_ERR(sync)) {
		free_job(job);
		return sync;
	}
	__module_get(THIS_MODULE);
	job->sync = sync;
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

static int wait_granted(struct dmabuf_sync *sync)
{
	int err = dmabuf_sync_wait_granted(sync);

	/* Granted at the last moment: then the signal can wait until the fence is there. */
	if (err == -ERESTARTSYS && dmabuf_sync_cancel(sync) == -EBUSY) {
		err = dmabuf_sync_wait_granted_killable(sync);
		/* Who is killed has no more use for an answer; the job goes on. */
		if (err == -ERESTARTSYS)
			err = 0;
	}
	return err;
}

/**
 * vblit_submit - VBLIT_IOC_SUBMIT
 * @vdev: device
 * @jobs: list of the file
 * @user: argument
 *
 * Returns: 0 or one of the errors of struct vblit_submit.
 */
int vblit_submit(struct vblit_device *vdev, struct list_head *jobs,
		 struct vblit_submit __user *user)
{
	struct vblit_submit submit;
	struct dmabuf_sync *sync;
	struct vblit_job *job;
	struct file *file;
	int fd, err;

	if (copy_from_user(&submit, user, sizeof(submit)))
		return -EFAULT;
	if ((submit.flags & ~VBLIT_SUBMIT_NO_WAIT) || !submit.num_ops)
		return -EINVAL;
	if (submit.num_ops > VBLIT_MAX_OPS)
		return -EMSGSIZE;
	job = make_job(vdev, &submit);
	if (IS_ERR(job))
		return PTR_ERR(job);
	sync = make_sync(job);
	if (IS_ERR(sync))
		return PTR_ERR(sync);

	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0) {
		err = fd;
		goto fini_sync;
	}
	file = dmabuf_sync_job_file(sync);
	if (IS_ERR(file)) {
		err = PTR_ERR(file);
		goto put_fd;
	}
	/* Before it is submitted: a bad pointer must not leave a job running. */
	err = -EFAULT;
	if (put_user(fd, &user->job_fd))
		goto put_file;

	mutex_lock(&vdev->jobs_lock);
	list_add_tail(&job->node, jobs);
	mutex_unlock(&vdev->jobs_lock);
	/* The list has the reference now; this one keeps the object for us. */
	dmabuf_sync_hold(sync);
	err = dmabuf_sync_submit(sync, job_granted);
	if (!err && !(submit.flags & VBLIT_SUBMIT_NO_WAIT))
		err = wait_granted(sync);
	if (err) {
		if (leave_list(job))
			dmabuf_sync_fini(sync);
		goto drop_sync;
	}
	dmabuf_sync_fini(sync);
	fd_install(fd, file);
	return 0;

drop_sync:
	dmabuf_sync_fini(sync);
	fput(file);
	put_unused_fd(fd);
	return err;

put_file:
	fput(file);
put_fd:
	put_unused_fd(fd);
fini_sync:
	dmabuf_sync_fini(sync);
	return err;
}

/**
 * vblit_cancel_all - a file is closed: take back what was not granted
 * @vdev: device
 * @jobs: list of the file
 *
 * The newest first: a job that another one kept back must not be granted
 * because that one goes.
 */
void vblit_cancel_all(struct vblit_device *vdev, struct list_head *jobs)
{
	struct vblit_job *job;
	struct dmabuf_sync *sync;

	for (;;) {
		mutex_lock(&vdev->jobs_lock);
		job = list_empty(jobs) ? NULL : list_last_entry(jobs, struct vblit_job, node);
		if (job) {
			list_del_init(&job->node);
			sync = job->sync;
		}
		mutex_unlock(&vdev->jobs_lock);
		if (!job)
			return;
		dmabuf_sync_cancel(sync);
		dmabuf_sync_fini(sync);
	}
}
