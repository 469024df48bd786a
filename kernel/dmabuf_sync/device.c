// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmabuf-sync: /dev/dmabuf_sync.
 */
#include <linux/completion.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/overflow.h>
#include <linux/uaccess.h>

#include "sync.h"

/* Errors: EFAULT; EINVAL pad. */
static long ioctl_query(unsigned long arg)
{
	struct dmabuf_sync_query query;

	if (copy_from_user(&query, (void __user *)arg, sizeof(query)))
		return -EFAULT;
	if (query.pad)
		return -EINVAL;
	query.abi_version = DMABUF_SYNC_ABI_VERSION;
	query.max_buffers = DSYNC_MAX_BUFFERS;
	query.capabilities = DMABUF_SYNC_CAP_FCNTL | DMABUF_SYNC_CAP_SETS | DMABUF_SYNC_CAP_JOBS;
	query.hold_timeout_ms = dsync_hold_timeout_ms();
	query.max_hold_timeout_ms = dsync_max_hold_timeout_ms();
	return copy_to_user((void __user *)arg, &query, sizeof(query)) ? -EFAULT : 0;
}

/* Errors: EFAULT; EINVAL flags, name not terminated; ENOSPC too many; EMFILE, ENOMEM. */
static long ioctl_create(unsigned long arg)
{
	struct dmabuf_sync_create create;
	struct file *file;
	int fd, err;

	if (copy_from_user(&create, (void __user *)arg, sizeof(create)))
		return -EFAULT;
	if (create.flags & ~DMABUF_SYNC_CREATE_NO_CACHE)
		return -EINVAL;
	if (strnlen(create.name, sizeof(create.name)) == sizeof(create.name))
		return -EINVAL;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	file = dsync_sync_file_create(create.name, create.flags);
	if (IS_ERR(file)) {
		err = PTR_ERR(file);
		goto put_fd;
	}
	create.fd = fd;
	if (copy_to_user((void __user *)arg, &create, sizeof(create))) {
		err = -EFAULT;
		goto put_file;
	}
	fd_install(fd, file);
	return 0;

put_file:
	fput(file);
put_fd:
	put_unused_fd(fd);
	return err;
}

static int make_lock(struct file_lock *fl, struct dma_buf *dmabuf,
		     const struct dmabuf_sync_timed_lock *lock)
{
	u64 stop;

	if (check_add_overflow(lock->start, lock->length, &stop) || lock->start >= dmabuf->size ||
	    stop > dmabuf->size)
		return -EINVAL;
	locks_init_lock(fl);
	file_lock_owner(fl) = current->files;
	file_lock_pid(fl) = current->tgid;
	file_lock_file(fl) = dmabuf->file;
	file_lock_flags(fl) = FL_POSIX;
	if (lock->timeout_ns)
		file_lock_flags(fl) |= FL_SLEEP;
	fl->fl_start = lock->start;
	fl->fl_end = lock->length ? stop - 1 : OFFSET_MAX;

	if (lock->access == DMABUF_SYNC_READ) {
		file_lock_type(fl) = F_RDLCK;
		return dmabuf->file->f_mode & FMODE_READ ? 0 : -EBADF;
	}
	if (lock->access == DMABUF_SYNC_WRITE) {
		file_lock_type(fl) = F_WRLCK;
		return dmabuf->file->f_mode & FMODE_WRITE ? 0 : -EBADF;
	}
	return -EINVAL;
}

/* As fcntl(): a lock on a descriptor that was closed meanwhile would never go. */
static int check_still_open(unsigned int fd, struct file *file)
{
	struct files_struct *files = current->files;
	struct file *now;

	spin_lock(&files->file_lock);
	now = files_lookup_fd_locked(files, fd);
	spin_unlock(&files->file_lock);
	if (now == file)
		return 0;
	locks_remove_posix(file, files);
	return -EBADF;
}

/* Errors: see struct dmabuf_sync_timed_lock. */
static long ioctl_timed_lock(unsigned long arg)
{
	struct dmabuf_sync_timed_lock lock;
	struct dma_buf *dmabuf;
	struct file_lock fl;
	int err;

	if (copy_from_user(&lock, (void __user *)arg, sizeof(lock)))
		return -EFAULT;
	if (lock.pad || lock.hold_timeout_ms > dsync_max_hold_timeout_ms() || lock.timeout_ns < 0)
		return -EINVAL;
	dmabuf = dma_buf_get(lock.fd);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	err = make_lock(&fl, dmabuf, &lock);
	if (!err)
		err = dsync_fcntl_setlk(dmabuf->file, &fl, lock.timeout_ns, lock.hold_timeout_ms);
	if (!err)
		err = check_still_open(lock.fd, dmabuf->file);
	dma_buf_put(dmabuf);
	return err;
}

static long device_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	switch (cmd) {
	case DMABUF_SYNC_IOC_QUERY:
		return ioctl_query(arg);
	case DMABUF_SYNC_IOC_CREATE:
		return ioctl_create(arg);
	case DMABUF_SYNC_IOC_TIMED_LOCK:
		return ioctl_timed_lock(arg);
	default:
		return -ENOTTY;
	}
}

/* The node is there before fcntl() comes to us: whoever opens it meanwhile waits. */
static DECLARE_COMPLETION(decided);
static bool in_use;

static int device_open(struct inode *inode, struct file *file)
{
	int err = wait_for_completion_killable(&decided);

	if (err)
		return err;
	return in_use ? 0 : -ENODEV;
}

static const struct file_operations device_fops = {
	.owner = THIS_MODULE,
	.open = device_open,
	.unlocked_ioctl = device_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "dmabuf_sync",
	.fops = &device_fops,
	.mode = 0660,
};

/**
 * dsync_device_init - make the device node; dsync_device_start() lets it be opened
 *
 * Returns: 0 or what misc_register() says.
 */
int dsync_device_init(void)
{
	return misc_register(&device);
}

/* Nothing that can fail comes after this: files that are open keep us from going. */
void dsync_device_start(void)
{
	in_use = true;
	complete_all(&decided);
}

void dsync_device_exit(void)
{
	/* Does nothing unless the module could not be loaded. */
	complete_all(&decided);
	misc_deregister(&device);
}
