// SPDX-License-Identifier: GPL-2.0-only
/*
 * vblit: VBLIT_IOC_SUBMIT.
 */
#include <linux/dma-fence.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/sync_file.h>
#include <linux/uaccess.h>

#include "vblit.h"

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

/* The job as user space describes it, without its buffers. */
static struct vblit_job *read_job(struct vblit_device *vdev, const struct vblit_submit *submit)
{
	const struct vblit_op __user *ops = u64_to_user_ptr(submit->ops);
	struct vblit_job *job;
	unsigned int i;
	int err;

	job = kvzalloc(struct_size(job, steps, submit->num_ops), GFP_KERNEL_ACCOUNT);
	if (!job)
		return ERR_PTR(-ENOMEM);
	vblit_device_get(vdev);
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
	return job;

free:
	vblit_job_free(job);
	return ERR_PTR(err);
}

static int find_buffers(struct vblit_job *job, const struct vblit_submit *submit)
{
	int err;

	job->dst = job_buffer(job, submit->dst_fd, FMODE_WRITE);
	err = PTR_ERR_OR_ZERO(job->dst);
	return err ?: check_steps(job);
}

static int set_fences(struct dmabuf_sync *sync, const struct vblit_submit *submit,
		      const __s32 *in_fences)
{
	struct dma_fence *fence;
	unsigned int i;
	int err;

	for (i = 0; i < submit->num_in_fences; i++) {
		fence = sync_file_get_fence(in_fences[i]);
		if (!fence)
			return -EINVAL;
		err = dmabuf_sync_add_fence(sync, fence);
		dma_fence_put(fence);
		if (err)
			return err;
	}
	return dmabuf_sync_set_explicit(sync, submit->flags & VBLIT_SUBMIT_NO_IMPLICIT);
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
 * struct submission - a job on its way
 * @job: lives as long as @sync, once that is there
 * @sync: its object; a reference
 * @file: its job file, to be installed as @fd
 * @fd: reserved
 * @in_fences: sync_files
 */
struct submission {
	struct vblit_job *job;
	struct dmabuf_sync *sync;
	struct file *file;
	int fd;
	__s32 in_fences[VBLIT_MAX_IN_FENCES];
};

/*
 * All that is in the memory of user space, which may take any time: nothing is locked, and no job
 * runs that a bad pointer would have to stop.
 */
static int begin(struct vblit_device *vdev, const struct vblit_submit *submit,
		 struct vblit_submit __user *user, struct submission *made)
{
	int err;

	if (copy_from_user(made->in_fences, u64_to_user_ptr(submit->in_fences),
			   array_size(submit->num_in_fences, sizeof(*made->in_fences))))
		return -EFAULT;
	made->job = read_job(vdev, submit);
	if (IS_ERR(made->job))
		return PTR_ERR(made->job);
	made->fd = get_unused_fd_flags(O_CLOEXEC);
	if (made->fd < 0) {
		err = made->fd;
		goto free_job;
	}
	if (put_user(made->fd, &user->job_fd)) {
		err = -EFAULT;
		goto put_fd;
	}
	return 0;

put_fd:
	put_unused_fd(made->fd);
free_job:
	vblit_job_free(made->job);
	return err;
}

/* Takes the job over. The device does not go meanwhile. */
static int queue_job(struct vblit_file *vfile, const struct vblit_submit *submit,
		     struct submission *made)
{
	struct vblit_device *vdev = vfile->vdev;
	struct vblit_job *job = made->job;
	int err;

	err = vdev->gone ? -ENODEV : find_buffers(job, submit);
	if (err) {
		vblit_job_free(job);
		return err;
	}
	made->sync = vblit_job_sync(job);
	if (IS_ERR(made->sync))
		return PTR_ERR(made->sync);
	err = set_fences(made->sync, submit, made->in_fences);
	if (err)
		goto fini_sync;
	made->file = dmabuf_sync_job_file(made->sync);
	if (IS_ERR(made->file)) {
		err = PTR_ERR(made->file);
		goto fini_sync;
	}

	mutex_lock(&vdev->jobs_lock);
	list_add_tail(&job->node, &vfile->jobs);
	mutex_unlock(&vdev->jobs_lock);
	/* The list has the reference now; this one keeps the object for us. */
	dmabuf_sync_hold(made->sync);
	err = dmabuf_sync_submit(made->sync, vblit_job_granted);
	if (!err)
		return 0;
	if (vblit_job_leave_list(job))
		dmabuf_sync_fini(made->sync);
	fput(made->file);
fini_sync:
	dmabuf_sync_fini(made->sync);
	return err;
}

/**
 * vblit_submit - VBLIT_IOC_SUBMIT
 * @vfile: file
 * @user: argument
 *
 * Returns: 0 or one of the errors of struct vblit_submit.
 */
int vblit_submit(struct vblit_file *vfile, struct vblit_submit __user *user)
{
	struct vblit_device *vdev = vfile->vdev;
	struct vblit_submit submit;
	struct submission made = {};
	int err;

	if (copy_from_user(&submit, user, sizeof(submit)))
		return -EFAULT;
	if ((submit.flags & ~(VBLIT_SUBMIT_NO_WAIT | VBLIT_SUBMIT_NO_IMPLICIT)) ||
	    submit.pad || !submit.num_ops)
		return -EINVAL;
	if (submit.num_ops > VBLIT_MAX_OPS || submit.num_in_fences > VBLIT_MAX_IN_FENCES)
		return -EMSGSIZE;
	err = begin(vdev, &submit, user, &made);
	if (err)
		return err;
	down_read(&vdev->submit_lock);
	err = queue_job(vfile, &submit, &made);
	up_read(&vdev->submit_lock);
	if (err)
		goto put_fd;
	if (!(submit.flags & VBLIT_SUBMIT_NO_WAIT))
		err = wait_granted(made.sync);
	if (err)
		goto drop_job;
	dmabuf_sync_fini(made.sync);
	fd_install(made.fd, made.file);
	return 0;

drop_job:
	if (vblit_job_leave_list(made.job))
		dmabuf_sync_fini(made.sync);
	dmabuf_sync_fini(made.sync);
	fput(made.file);
put_fd:
	put_unused_fd(made.fd);
	/* As it was. Should it not be there any more, nobody can look at it. */
	return put_user(submit.job_fd, &user->job_fd) ? -EFAULT : err;
}
