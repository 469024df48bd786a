// SPDX-License-Identifier: GPL-2.0-only
/*
 * dsync_test: the driver API of dmabuf_sync, function by function.
 */
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "dsync_test.h"

/**
 * DOC: dsync_test
 *
 * For tests only. Every open file of /dev/dsync_test is a driver with one sync
 * object, and every ioctl is one call of linux/dmabuf-sync.h with its result.
 * Nothing stands between the caller and the API, so that it can be misused as
 * a driver could; what would be undefined for a driver is so here.
 *
 * client.c	sync objects, single buffers
 * job.c	DMA jobs and their callbacks
 * hooks.c	those of an exporter
 */

struct device *dsync_test_device;

static int test_open(struct inode *inode, struct file *file)
{
	struct client *client = client_open();

	if (!client)
		return -ENOMEM;
	file->private_data = client;
	return 0;
}

static int test_release(struct inode *inode, struct file *file)
{
	client_close(file->private_data);
	return 0;
}

/* Errors: EFAULT. */
static long ioctl_state(struct client *client, unsigned long arg)
{
	struct dsync_test_state state;

	spin_lock_irq(&client->wait.lock);
	state = client->state;
	spin_unlock_irq(&client->wait.lock);
	state.in_begin = dsync_exporter_in_begin();
	state.in_end = dsync_exporter_in_end();
	return copy_to_user((void __user *)arg, &state, sizeof(state)) ? -EFAULT : 0;
}

/* Errors: EFAULT; ENOMEM. */
static long ioctl_hooks(unsigned long arg)
{
	struct dsync_test_hooks *hooks = kzalloc(sizeof(*hooks), GFP_KERNEL);
	long err;

	if (!hooks)
		return -ENOMEM;
	hooks_take(hooks);
	err = copy_to_user((void __user *)arg, hooks, sizeof(*hooks)) ? -EFAULT : 0;
	kfree(hooks);
	return err;
}

/* Errors: EFAULT; EINVAL there is no sync object yet, or still one; those of the function. */
static long test_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct client *client = file->private_data;
	struct dsync_test_call call;

	if (cmd == DSYNC_TEST_STATE)
		return ioctl_state(client, arg);
	if (cmd == DSYNC_TEST_HOOKS)
		return ioctl_hooks(arg);
	if (copy_from_user(&call, (void __user *)arg, sizeof(call)))
		return -EFAULT;

	switch (cmd) {
	case DSYNC_TEST_IS_SUPPORTED:
		return dmabuf_sync_is_supported();
	case DSYNC_TEST_FLUSH:
		dmabuf_sync_flush();
		return 0;
	case DSYNC_TEST_REGISTER:
		return hooks_register();
	case DSYNC_TEST_UNREGISTER:
		hooks_unregister();
		return 0;
	case DSYNC_TEST_INIT:
		return client_init(client, call.value);
	default:
		return client_call(client, cmd, &call);
	}
}

static const struct file_operations test_fops = {
	.owner = THIS_MODULE,
	.open = test_open,
	.release = test_release,
	.unlocked_ioctl = test_ioctl,
};

static struct miscdevice test_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "dsync_test",
	.fops = &test_fops,
	.mode = 0600,
};

static struct platform_device *platform_device;

static int __init dsync_test_init(void)
{
	int err;

	platform_device = platform_device_register_simple("dsync_test", PLATFORM_DEVID_NONE,
							  NULL, 0);
	if (IS_ERR(platform_device))
		return PTR_ERR(platform_device);
	dsync_test_device = &platform_device->dev;
	err = dma_coerce_mask_and_coherent(dsync_test_device, DMA_BIT_MASK(64));
	if (err)
		goto unregister;
	err = misc_register(&test_misc);
	if (err)
		goto unregister;
	return 0;

unregister:
	platform_device_unregister(platform_device);
	return err;
}

/* The last ops->free has dropped its reference to us, but may not have returned. */
static void __exit dsync_test_exit(void)
{
	misc_deregister(&test_misc);
	hooks_unregister();
	dmabuf_sync_flush();
	platform_device_unregister(platform_device);
}

module_init(dsync_test_init);
module_exit(dsync_test_exit);

MODULE_DESCRIPTION("Test of the driver API of dmabuf_sync");
MODULE_AUTHOR("The dmabuf-sync authors");
MODULE_LICENSE("GPL");
IMPORT_DMA_BUF_NS();
