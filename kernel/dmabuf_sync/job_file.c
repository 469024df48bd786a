// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmabuf-sync: job fds.
 */
#include <linux/anon_inodes.h>
#include <linux/export.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/poll.h>
#include <linux/sync_file.h>
#include <linux/uaccess.h>

#include "sync.h"

/* Errors: EFAULT. */
static long ioctl_info(struct dmabuf_sync *sync, unsigned long arg)
{
	struct dmabuf_sync_job_info info = { .state = dsync_job_state(sync) };

	info.status = info.state == DMABUF_SYNC_JOB_DONE ? sync->job.status : 0;
	info.queued_ns = sync->job.times[DMABUF_SYNC_JOB_QUEUED];
	info.granted_ns = sync->job.times[DMABUF_SYNC_JOB_GRANTED];
	info.started_ns = sync->job.times[DMABUF_SYNC_JOB_RUNNING];
	info.done_ns = sync->job.times[DMABUF_SYNC_JOB_DONE];
	return copy_to_user((void __user *)arg, &info, sizeof(info)) ? -EFAULT : 0;
}

/*
 * Errors: EFAULT; EINVAL pad; EAGAIN not granted yet; the job's error if it
 * never was; EMFILE, ENOMEM.
 */
static long ioctl_sync_file(struct dmabuf_sync *sync, unsigned long arg)
{
	struct dmabuf_sync_job_sync_file request;
	struct sync_file *sync_file;
	struct dma_fence *fence;
	int fd, err;

	if (copy_from_user(&request, (void __user *)arg, sizeof(request)))
		return -EFAULT;
	if (request.pad)
		return -EINVAL;
	fence = dmabuf_sync_fence(sync);
	if (IS_ERR(fence))
		return PTR_ERR(fence);
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0) {
		err = fd;
		goto put_fence;
	}
	sync_file = sync_file_create(fence);
	if (!sync_file) {
		err = -ENOMEM;
		goto put_fd;
	}
	request.fd = fd;
	if (copy_to_user((void __user *)arg, &request, sizeof(request))) {
		err = -EFAULT;
		goto put_sync_file;
	}
	fd_install(fd, sync_file->file);
	dma_fence_put(fence);
	return 0;

put_sync_file:
	fput(sync_file->file);
put_fd:
	put_unused_fd(fd);
put_fence:
	dma_fence_put(fence);
	return err;
}

static long job_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct dmabuf_sync *sync = file->private_data;

	switch (cmd) {
	case DMABUF_SYNC_IOC_JOB_INFO:
		return ioctl_info(sync, arg);
	case DMABUF_SYNC_IOC_JOB_SYNC_FILE:
		return ioctl_sync_file(sync, arg);
	default:
		return -ENOTTY;
	}
}

static __poll_t job_poll(struct file *file, poll_table *wait)
{
	struct dmabuf_sync *sync = file->private_data;
	__poll_t events = 0;
	int state;

	poll_wait(file, &sync->wait, wait);
	state = dsync_job_state(sync);
	if (state != DMABUF_SYNC_JOB_QUEUED)
		events |= EPOLLOUT | EPOLLWRNORM;
	if (state == DMABUF_SYNC_JOB_DONE) {
		events |= EPOLLIN | EPOLLRDNORM;
		if (sync->job.status)
			events |= EPOLLERR;
	}
	return events;
}

static int job_release(struct inode *inode, struct file *file)
{
	dsync_sync_put(file->private_data);
	return 0;
}

static const struct file_operations job_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = job_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.poll = job_poll,
	.release = job_release,
};

/**
 * dmabuf_sync_job_file - a file to watch a job through
 * @sync: an object that is, or is about to be, submitted once
 *
 * The file has a reference to the object's memory only: neither the job nor
 * ops->free depend on when it is closed. Install it into a reserved fd.
 *
 * Returns: the file, or an ERR_PTR.
 */
struct file *dmabuf_sync_job_file(struct dmabuf_sync *sync)
{
	struct file *file;

	kref_get(&sync->ref);
	file = anon_inode_getfile("dmabuf_sync_job", &job_fops, sync, O_RDONLY | O_CLOEXEC);
	if (IS_ERR(file))
		dsync_sync_put(sync);
	return file;
}
EXPORT_SYMBOL_GPL(dmabuf_sync_job_file);
