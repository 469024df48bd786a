// SPDX-License-Identifier: GPL-2.0-only
/*
 * vblit: a virtual 2D DMA engine.
 */
#include <linux/dma-mapping.h>
#include <linux/module.h>
#include <linux/platform_device.h>

#include "vblit.h"

/**
 * DOC: where to find what
 *
 * main.c	the platform device behind /dev/vblit
 * device.c	device nodes
 * submit.c	a job from the ioctl to its being submitted
 * job.c	its callbacks: what every driver has to do
 * check.c	which operations there are
 * attach.c	buffers, their mapping and their DMA addresses
 * engine.c	engines, and which job gets which
 * run.c	an engine executes a job
 * soft.c	backend: the CPU plays the hardware
 * edu.c	backend: QEMU's PCI device edu, /dev/vblit-edu
 * params.c, sysfs.c	speed, latency and faults
 *
 * Lock order: devices_lock; vblit_device.attach_lock or vblit_attachment.lock,
 * then dma_resv; jobs_lock and engine_lock are taken last.
 */

static unsigned int engines = 1;

static int set_engines(const char *val, const struct kernel_param *kp)
{
	/* Not ERANGE for what does not even fit an integer. */
	return param_set_uint_minmax(val, kp, 1, VBLIT_MAX_ENGINES) ? -EINVAL : 0;
}

static const struct kernel_param_ops engines_ops = {
	.set = set_engines,
	.get = param_get_uint,
};

module_param_cb(engines, &engines_ops, &engines, 0444);
MODULE_PARM_DESC(engines, "engines of /dev/vblit (1 to 16, default 1)");

static struct vblit_device *soft_device;
static struct platform_device *platform_device;

static int vblit_probe(struct platform_device *pdev)
{
	struct vblit_device *vdev;
	int err;

	err = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (err)
		return err;
	dma_set_max_seg_size(&pdev->dev, UINT_MAX);
	/* The CPU can follow a DMA address to the memory only where they are related. */
	if (device_iommu_mapped(&pdev->dev))
		return -ENODEV;
	vdev = vblit_device_add(&pdev->dev, &vblit_soft, engines, NULL);
	if (IS_ERR(vdev))
		return PTR_ERR(vdev);
	soft_device = vdev;
	return 0;
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
	if (!soft_device)
		goto unregister_device;
	err = vblit_edu_init();
	if (err)
		goto remove_device;
	return 0;

remove_device:
	vblit_device_remove(soft_device);
unregister_device:
	platform_device_unregister(platform_device);
unregister_driver:
	platform_driver_unregister(&vblit_driver);
	return err;
}

static void __exit vblit_exit(void)
{
	vblit_edu_exit();
	vblit_device_remove(soft_device);
	platform_device_unregister(platform_device);
	platform_driver_unregister(&vblit_driver);
}

module_init(vblit_init);
module_exit(vblit_exit);

MODULE_DESCRIPTION("A virtual 2D DMA engine that works on any dma-buf");
MODULE_AUTHOR("The dmabuf-sync authors");
MODULE_LICENSE("GPL");
IMPORT_DMA_BUF_NS();
