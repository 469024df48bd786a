// SPDX-License-Identifier: GPL-2.0-only
/*
 * vdisplay: a virtual scan-out.
 */
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "../user_limit.h"
#include "vdisplay.h"

/**
 * DOC: where to find what
 *
 * main.c	the platform device, /dev/vdisplay
 * buffer.c	lock, map, read, unmap, unlock
 * scanout.c	the hardware
 *
 * It is to a buffer what a KMS driver is: a client in the kernel that holds it for
 * as long as it is shown.
 */

#define DEFAULT_PERIOD_US 16667

static struct platform_device *platform_device;

static unsigned int max_user_displays = 64;

static int set_limit(const char *val, const struct kernel_param *kp)
{
	return param_set_uint(val, kp) ? -EINVAL : 0;
}

static const struct kernel_param_ops limit_ops = {
	.set = set_limit,
	.get = param_get_uint,
};

module_param_cb(max_user_displays, &limit_ops, &max_user_displays, 0644);
MODULE_PARM_DESC(max_user_displays,
		 "most displays, a thread each, of one user without CAP_SYS_RESOURCE (default 64)");

static DEFINE_USER_LIMIT(users);

/* Errors: ENOSPC the user has too many; ENOMEM; EAGAIN, EINTR no thread. */
static int vdisplay_open(struct inode *inode, struct file *file)
{
	struct vdisplay *display = kvzalloc(sizeof(*display), GFP_KERNEL_ACCOUNT);
	int err;

	if (!display)
		return -ENOMEM;
	display->user = user_limit_charge(&users, READ_ONCE(max_user_displays));
	if (IS_ERR(display->user)) {
		err = PTR_ERR(display->user);
		goto free;
	}
	display->dev = &platform_device->dev;
	spin_lock_init(&display->lock);
	init_waitqueue_head(&display->wait);
	display->period_us = DEFAULT_PERIOD_US;
	display->thread = kthread_run(vdisplay_thread, display, "vdisplay");
	if (IS_ERR(display->thread)) {
		err = PTR_ERR(display->thread);
		goto uncharge;
	}
	file->private_data = display;
	return stream_open(inode, file);

uncharge:
	user_limit_uncharge(&users, display->user);
free:
	kvfree(display);
	return err;
}

static int vdisplay_release(struct inode *inode, struct file *file)
{
	struct vdisplay *display = file->private_data;

	WRITE_ONCE(display->stopping, true);
	wake_up_all(&display->wait);
	kthread_stop(display->thread);
	/* Stopped before it has run at all, the thread has given nothing back. */
	if (display->pending)
		vdisplay_buffer_put(display->pending);
	user_limit_uncharge(&users, display->user);
	kvfree(display);
	return 0;
}

static bool begin_flip(struct vdisplay *display)
{
	bool begun;

	spin_lock(&display->lock);
	begun = !display->flipping;
	display->flipping = true;
	spin_unlock(&display->lock);
	return begun;
}

static void end_flip(struct vdisplay *display, struct vdisplay_buffer *buffer, u32 period_us)
{
	spin_lock(&display->lock);
	display->pending = buffer;
	display->pending_period_us = period_us;
	display->ready = true;
	spin_unlock(&display->lock);
}

static void abort_flip(struct vdisplay *display)
{
	spin_lock(&display->lock);
	display->flipping = false;
	spin_unlock(&display->lock);
	wake_up_all(&display->wait);
}

/* Errors: those of struct vdisplay_flip. */
static long ioctl_flip(struct vdisplay *display, unsigned long arg)
{
	struct vdisplay_buffer *buffer = NULL;
	struct vdisplay_flip flip;

	if (copy_from_user(&flip, (void __user *)arg, sizeof(flip)))
		return -EFAULT;
	if ((flip.flags & ~VDISPLAY_FLIP_NONBLOCK) || flip.pad)
		return -EINVAL;
	if (flip.period_us && (flip.period_us < VDISPLAY_MIN_PERIOD_US ||
			       flip.period_us > VDISPLAY_MAX_PERIOD_US))
		return -EINVAL;
	if (flip.fd == -1 && (flip.length || flip.offset))
		return -EINVAL;
	if (!begin_flip(display))
		return -EBUSY;
	if (flip.fd != -1) {
		buffer = vdisplay_buffer_get(display, &flip);
		if (IS_ERR(buffer)) {
			abort_flip(display);
			return PTR_ERR(buffer);
		}
	}
	end_flip(display, buffer, flip.period_us);
	return 0;
}

static long vdisplay_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	switch (cmd) {
	case VDISPLAY_IOC_FLIP:
		return ioctl_flip(file->private_data, arg);
	default:
		return -ENOTTY;
	}
}

static bool next_event(struct vdisplay *display, struct vdisplay_event *event)
{
	bool found;

	spin_lock(&display->lock);
	found = display->count;
	if (found) {
		*event = display->events[display->first];
		display->first = (display->first + 1) % VDISPLAY_EVENTS;
		display->count--;
	}
	spin_unlock(&display->lock);
	return found;
}

/* Errors: EINVAL no room for an event; EAGAIN; EINTR; EFAULT, and the event is lost. */
static ssize_t vdisplay_read(struct file *file, char __user *buf, size_t size, loff_t *pos)
{
	struct vdisplay *display = file->private_data;
	struct vdisplay_event event;
	size_t done = 0;
	int err;

	if (size < sizeof(event))
		return -EINVAL;
	while (size - done >= sizeof(event)) {
		if (next_event(display, &event)) {
			if (copy_to_user(buf + done, &event, sizeof(event)))
				return done ?: -EFAULT;
			done += sizeof(event);
			continue;
		}
		if (done)
			break;
		if (file->f_flags & O_NONBLOCK)
			return -EAGAIN;
		err = wait_event_interruptible(display->wait, READ_ONCE(display->count));
		if (err)
			return err;
	}
	return done;
}

static __poll_t vdisplay_poll(struct file *file, poll_table *wait)
{
	struct vdisplay *display = file->private_data;
	__poll_t events = 0;

	poll_wait(file, &display->wait, wait);
	spin_lock(&display->lock);
	if (display->count)
		events |= EPOLLIN | EPOLLRDNORM;
	if (!display->flipping)
		events |= EPOLLOUT | EPOLLWRNORM;
	spin_unlock(&display->lock);
	return events;
}

static const struct file_operations vdisplay_fops = {
	.owner = THIS_MODULE,
	.open = vdisplay_open,
	.release = vdisplay_release,
	.read = vdisplay_read,
	.poll = vdisplay_poll,
	.unlocked_ioctl = vdisplay_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice vdisplay_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "vdisplay",
	.fops = &vdisplay_fops,
	.mode = 0660,
};

static int __init vdisplay_init(void)
{
	struct device *dev;
	int err;

	platform_device = platform_device_register_simple("vdisplay", PLATFORM_DEVID_NONE, NULL, 0);
	if (IS_ERR(platform_device))
		return PTR_ERR(platform_device);
	dev = &platform_device->dev;
	err = dma_coerce_mask_and_coherent(dev, DMA_BIT_MASK(64));
	if (err)
		goto unregister;
	dma_set_max_seg_size(dev, UINT_MAX);
	/* The CPU can follow a DMA address to the memory only where they are related. */
	err = -ENODEV;
	if (device_iommu_mapped(dev))
		goto unregister;
	err = misc_register(&vdisplay_misc);
	if (err)
		goto unregister;
	return 0;

unregister:
	platform_device_unregister(platform_device);
	return err;
}

static void __exit vdisplay_exit(void)
{
	misc_deregister(&vdisplay_misc);
	platform_device_unregister(platform_device);
}

module_init(vdisplay_init);
module_exit(vdisplay_exit);

MODULE_DESCRIPTION("A virtual scan-out that shows any dma-buf");
MODULE_AUTHOR("The dmabuf-sync authors");
MODULE_LICENSE("GPL");
IMPORT_DMA_BUF_NS();
