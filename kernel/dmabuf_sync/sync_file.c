// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmabuf-sync: sync objects of user space.
 */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/overflow.h>
#include <linux/poll.h>
#include <linux/uaccess.h>

#include "sync.h"

/* The range of an ADD: whole buffers lock more than their size, like l_len 0. */
static int check_range(const struct dmabuf_sync_add *add, const struct dma_buf *dmabuf,
		       loff_t *start, loff_t *end)
{
	u64 stop;

	if (add->offset >= dmabuf->size)
		return -EINVAL;
	if (check_add_overflow(add->offset, add->length, &stop) || stop > dmabuf->size)
		return -EINVAL;
	*start = add->offset;
	if (!add->length || stop == dmabuf->size)
		*end = OFFSET_MAX;
	else
		*end = stop - 1;
	return 0;
}

static int check_mode(const struct file *file, unsigned int access)
{
	if ((access & DMABUF_SYNC_READ) && !(file->f_mode & FMODE_READ))
		return -EBADF;
	if ((access & DMABUF_SYNC_WRITE) && !(file->f_mode & FMODE_WRITE))
		return -EBADF;
	return 0;
}

/* Errors: see struct dmabuf_sync_add. */
static long ioctl_add(struct dmabuf_sync *sync, unsigned long arg)
{
	struct dmabuf_sync_add add;
	struct dma_buf *dmabuf;
	loff_t start, end;
	int err;

	if (copy_from_user(&add, (void __user *)arg, sizeof(add)))
		return -EFAULT;
	if (add.pad || (add.access & ~DMA_BUF_ACCESS_DMA_RW))
		return -EINVAL;
	dmabuf = dma_buf_get(add.fd);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	err = check_mode(dmabuf->file, add.access);
	if (!err)
		err = check_range(&add, dmabuf, &start, &end);
	if (!err)
		err = dsync_sync_add(sync, dmabuf, dmabuf->resv, add.access, start, end);
	dma_buf_put(dmabuf);
	return err;
}

/* Errors: EBADF, EINVAL not a dma-buf; see struct dmabuf_sync_remove. */
static long ioctl_remove(struct dmabuf_sync *sync, unsigned long arg)
{
	struct dmabuf_sync_remove remove;
	struct dma_buf *dmabuf;
	int err;

	if (copy_from_user(&remove, (void __user *)arg, sizeof(remove)))
		return -EFAULT;
	if (remove.pad)
		return -EINVAL;
	dmabuf = dma_buf_get(remove.fd);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	err = dmabuf_sync_put(sync, dmabuf);
	dma_buf_put(dmabuf);
	return err;
}

/* Errors: see struct dmabuf_sync_lock. */
static long ioctl_lock(struct dmabuf_sync *sync, unsigned long arg)
{
	enum dsync_lock_mode mode;
	struct dmabuf_sync_lock lock;

	if (copy_from_user(&lock, (void __user *)arg, sizeof(lock)))
		return -EFAULT;
	if (lock.hold_timeout_ms > dsync_max_hold_timeout_ms() || lock.timeout_ns < 0)
		return -EINVAL;
	switch (lock.flags) {
	case 0:
		mode = DSYNC_LOCK_WAIT;
		break;
	case DMABUF_SYNC_LOCK_NONBLOCK:
		mode = DSYNC_LOCK_NONBLOCK;
		break;
	case DMABUF_SYNC_LOCK_ASYNC:
		if (lock.timeout_ns != DMABUF_SYNC_NO_TIMEOUT)
			return -EINVAL;
		mode = DSYNC_LOCK_ASYNC;
		break;
	default:
		return -EINVAL;
	}
	return dsync_sync_lock(sync, mode, lock.timeout_ns, lock.hold_timeout_ms);
}

static u32 info_state(enum dmabuf_sync_state state)
{
	switch (state) {
	case DSYNC_SYNC_LOCKING:
	case DSYNC_SYNC_ASYNC:
		return DMABUF_SYNC_STATE_WAITING;
	case DSYNC_SYNC_LOCKED:
	case DSYNC_SYNC_UNLOCKING:
		return DMABUF_SYNC_STATE_LOCKED;
	case DSYNC_SYNC_FAILED:
		return DMABUF_SYNC_STATE_FAILED;
	default:
		return DMABUF_SYNC_STATE_IDLE;
	}
}

/* Errors: EFAULT. */
static long ioctl_info(struct dmabuf_sync *sync, unsigned long arg)
{
	struct dmabuf_sync_info info = {};

	mutex_lock(&sync->mutex);
	info.state = info_state(sync->state);
	info.buffers = sync->request.count;
	info.revoked = dsync_sync_revoked(sync);
	info.error = sync->state == DSYNC_SYNC_FAILED ? sync->error : 0;
	mutex_unlock(&sync->mutex);
	return copy_to_user((void __user *)arg, &info, sizeof(info)) ? -EFAULT : 0;
}

static long sync_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct dmabuf_sync *sync = file->private_data;

	switch (cmd) {
	case DMABUF_SYNC_IOC_ADD:
		return ioctl_add(sync, arg);
	case DMABUF_SYNC_IOC_REMOVE:
		return ioctl_remove(sync, arg);
	case DMABUF_SYNC_IOC_LOCK:
		return ioctl_lock(sync, arg);
	case DMABUF_SYNC_IOC_UNLOCK:
		return dsync_sync_unlock(sync);
	case DMABUF_SYNC_IOC_INFO:
		return ioctl_info(sync, arg);
	default:
		return -ENOTTY;
	}
}

static __poll_t sync_poll(struct file *file, poll_table *wait)
{
	struct dmabuf_sync *sync = file->private_data;

	poll_wait(file, &sync->wait, wait);
	switch (READ_ONCE(sync->state)) {
	case DSYNC_SYNC_LOCKED:
		return EPOLLIN | EPOLLRDNORM;
	case DSYNC_SYNC_FAILED:
		return EPOLLIN | EPOLLRDNORM | EPOLLERR;
	default:
		return 0;
	}
}

/* Requests that wait without a thread are counted by this. */
static DEFINE_USER_LIMIT(objects);

/* No call is under way any more: it is idle, locked, or being locked by work items. */
static int sync_release(struct inode *inode, struct file *file)
{
	struct dmabuf_sync *sync = file->private_data;

	dsync_sync_unlock(sync);
	user_limit_uncharge(&objects, sync->user);
	dmabuf_sync_fini(sync);
	return 0;
}

static const struct file_operations sync_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = sync_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.poll = sync_poll,
	.release = sync_release,
};

/**
 * dsync_sync_file_create - a sync object that belongs to a file
 * @name: of the object
 * @flags: DMABUF_SYNC_CREATE_*
 *
 * Returns: the file or an ERR_PTR: -ENOSPC the user has too many; -ENOMEM, -ENFILE.
 */
struct file *dsync_sync_file_create(const char *name, unsigned int flags)
{
	struct dmabuf_sync *sync = dmabuf_sync_init(name, NULL, NULL);
	struct file *file;

	if (IS_ERR(sync))
		return ERR_CAST(sync);
	sync->flags = DSYNC_SYNC_USER;
	if (flags & DMABUF_SYNC_CREATE_NO_CACHE)
		sync->flags |= DSYNC_SYNC_NO_CACHE;
	sync->user = user_limit_charge(&objects, dsync_max_user_objects());
	if (IS_ERR(sync->user)) {
		file = ERR_CAST(sync->user);
		goto fini_sync;
	}
	file = anon_inode_getfile("dmabuf_sync", &sync_fops, sync, O_RDWR | O_CLOEXEC);
	if (IS_ERR(file))
		goto uncharge;
	return file;

uncharge:
	user_limit_uncharge(&objects, sync->user);
fini_sync:
	dmabuf_sync_fini(sync);
	return file;
}
