// SPDX-License-Identifier: GPL-2.0-only
/*
 * vblit: a virtual 2D DMA engine.
 */
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "vblit.h"

/**
 * DOC: where to find what
 *
 * main.c	the platform device, /dev/vblit
 * job.c	a job from the ioctl to its end; the loop every driver writes
 * check.c	which operations there are
 * attach.c	buffers and their mapping
 * engine.c	the hardware
 *
 * Lock order: vblit_device.attach_lock or vblit_attachment.lock, then dma_resv;
 * jobs_lock and engine_lock are taken last.
 */

/**
 * struct vblit_file - an open file
 * @jobs: its jobs that can still be cancelled
 */
struct vblit_file {
	struct list_head jobs;
};

static struct vblit_device *the_device;
static struct platform_device *platform_device;

static int vblit_open(struct inode *inode, struct file *file)
{
	struct vblit_file *vfile = kzalloc(sizeof(*vfile), GFP_KERNEL_ACCOUNT);

	if (!vfile)
		return -ENOMEM;
	INIT_LIST_HEAD(&vfile->jobs);
	file->private_data = vfile;
	return 0;
}

static int vblit_release(struct inode *inode, struct file *file)
{
	struct vblit_file *vfile = file->private_data;

	vblit_cancel_all(the_device, &vfile->jobs);
	kfree(vfile);
	return 0;
}

/* Errors: EFAULT; EINVAL pad. */
static long ioctl_query(unsigned long arg)
{
	struct vblit_query query;

	if (copy_from_user(&query, (void __user *)arg, sizeof(query)))
		return -EFAULT;
	if (query.pad)
		return -EINVAL;
	query.abi_version = VBLIT_ABI_VERSION;
	query.max_ops = VBLIT_MAX_OPS;
	query.capabilities = BIT(VBLIT_OP_FILL) | BIT(VBLIT_OP_COPY) | BIT(VBLIT_OP_BLIT);
	return copy_to_user((void __user *)arg, &query, sizeof(query)) ? -EFAULT : 0;
}

static long vblit_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct vblit_file *vfile = file->private_data;

	switch (cmd) {
	case VBLIT_IOC_QUERY:
		return ioctl_query(arg);
	case VBLIT_IOC_SUBMIT:
		return vblit_submit(the_device, &vfile->jobs, (void __user *)arg);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations vblit_fops = {
	.owner = THIS_MODULE,
	.open = vblit_open,
	.release = vblit_release,
	.unlocked_ioctl = vblit_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice vblit_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "vblit",
	.fops = &vblit_fops,
	.mode = 0660,
};

static int make_device(struct device *dev)
{
	struct vblit_device *vdev;
	int err;

	err = dma_set_mask_and_coherent(dev, DMA_BIT_MASK(64));
	if (err)
		return err;
	dma_set_max_seg_size(dev, UINT_MAX);
	/* The engine can follow a DMA address to the memory only where they are related. */
	if (device_iommu_mapped(dev))
		return -ENODEV;

	vdev = devm_kzalloc(dev, sizeof(*vdev), GFP_KERNEL);
	if (!vdev)
		return -ENOMEM;
	vdev->dev = dev;
	mutex_init(&vdev->attach_lock);
	INIT_LIST_HEAD(&vdev->attachments);
	mutex_init(&vdev->jobs_lock);
	spin_lock_init(&vdev->engine_lock);
	INIT_LIST_HEAD(&vdev->started);
	init_waitqueue_head(&vdev->engine_wait);
	err = vblit_engine_start(vdev);
	if (err)
		return err;
	the_device = vdev;
	return 0;
}

static int vblit_probe(struct platform_device *pdev)
{
	return make_device(&pdev->dev);
}

/* Unbinding by hand would pull the device away from under its jobs. */
static struct platform_driver vblit_driver = {
	.probe = vblit_probe,
	.driver = {
		.name = "vblit",
		.suppress_bind_attrs = true,
	},
};

static int __init vblit_init(void)
{
	int err;

	err = platform_driver_register(&vblit_driver);
	if (err)
		return err;
	platform_device = platform_device_register_simple("vblit", PLATFORM_DEVID_NONE, NULL, 0);
	if (IS_ERR(platform_device)) {
		err = PTR_ERR(platform_device);
		goto unregister_driver;
	}
	err = -ENODEV;
	if (!the_device)
		goto unregister_device;
	err = misc_register(&vblit_misc);
	if (err)
		goto stop_engine;
	return 0;

stop_engine:
	vblit_engine_stop(the_device);
unregister_device:
	platform_device_unregister(platform_device);
unregister_driver:
	platform_driver_unregister(&vblit_driver);
	return err;
}

static void __exit vblit_exit(void)
{
	misc_deregister(&vblit_misc);
	/* Every job pinned us; the last callback may still be on its way out. */
	dmabuf_sync_flush();
	vblit_engine_stop(the_device);
	platform_device_unregister(platform_device);
	platform_driver_unregister(&vblit_driver);
}

module_init(vblit_init);
module_exit(vblit_exit);

MODULE_DESCRIPTION("A virtual 2D DMA engine that works on any dma-buf");
MODULE_AUTHOR("The dmabuf-sync authors");
MODULE_LICENSE("GPL");
IMPORT_DMA_BUF_NS();
