// SPDX-License-Identifier: GPL-2.0-only
/*
 * vblit: device nodes.
 */
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "vblit.h"

/**
 * DOC: devices that go
 *
 * A PCI device can be removed, or pulled out, at any time. Then what was not granted is
 * cancelled, the job that runs comes to its end, by the watchdog if need be, those behind
 * it fail, and all buffers are detached. Files and job fds stay: the ones get ENODEV, the
 * others tell how the job ended.
 */

static DEFINE_MUTEX(devices_lock);
static LIST_HEAD(devices);

static void free_device(struct kref *ref)
{
	kfree(container_of(ref, struct vblit_device, ref));
}

void vblit_device_get(struct vblit_device *vdev)
{
	kref_get(&vdev->ref);
}

void vblit_device_put(struct vblit_device *vdev)
{
	kref_put(&vdev->ref, free_device);
}

/* The device stays meanwhile: misc_deregister() waits for us. */
static int vblit_open(struct inode *inode, struct file *file)
{
	struct vblit_file *vfile = kzalloc(sizeof(*vfile), GFP_KERNEL_ACCOUNT);

	if (!vfile)
		return -ENOMEM;
	vfile->vdev = container_of(file->private_data, struct vblit_device, misc);
	INIT_LIST_HEAD(&vfile->jobs);
	vblit_device_get(vfile->vdev);
	mutex_lock(&vfile->vdev->jobs_lock);
	list_add_tail(&vfile->node, &vfile->vdev->files);
	mutex_unlock(&vfile->vdev->jobs_lock);
	file->private_data = vfile;
	return 0;
}

static int vblit_release(struct inode *inode, struct file *file)
{
	struct vblit_file *vfile = file->private_data;
	struct vblit_device *vdev = vfile->vdev;

	vblit_cancel_jobs(vdev, vfile);
	mutex_lock(&vdev->jobs_lock);
	list_del(&vfile->node);
	mutex_unlock(&vdev->jobs_lock);
	vblit_device_put(vdev);
	kfree(vfile);
	return 0;
}

/* Errors: EFAULT; EINVAL pad. */
static long ioctl_query(struct vblit_device *vdev, unsigned long arg)
{
	struct vblit_query query;

	if (copy_from_user(&query, (void __user *)arg, sizeof(query)))
		return -EFAULT;
	if (query.pad)
		return -EINVAL;
	query.abi_version = VBLIT_ABI_VERSION;
	query.max_ops = VBLIT_MAX_OPS;
	query.capabilities = BIT(VBLIT_OP_FILL) | BIT(VBLIT_OP_COPY) | BIT(VBLIT_OP_BLIT) |
			     VBLIT_CAP_SCALE | VBLIT_CAP_BLEND;
	query.engines = vdev->engine_count;
	return copy_to_user((void __user *)arg, &query, sizeof(query)) ? -EFAULT : 0;
}

static long vblit_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct vblit_file *vfile = file->private_data;

	switch (cmd) {
	case VBLIT_IOC_QUERY:
		return ioctl_query(vfile->vdev, arg);
	case VBLIT_IOC_SUBMIT:
		return vblit_submit(vfile, (void __user *)arg);
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

/**
 * vblit_visit_engines - do something to all engines of all devices
 * @func: called for each
 */
void vblit_visit_engines(void (*func)(struct vblit_engine *engine))
{
	struct vblit_device *vdev;
	unsigned int i;

	mutex_lock(&devices_lock);
	list_for_each_entry(vdev, &devices, node)
		for (i = 0; i < vdev->engine_count; i++)
			func(vdev->engines[i]);
	mutex_unlock(&devices_lock);
}

static void stop_engines(struct vblit_device *vdev)
{
	while (vdev->engine_count)
		vblit_engine_stop(vdev->engines[--vdev->engine_count]);
}

static int start_engines(struct vblit_device *vdev, unsigned int count)
{
	struct vblit_engine *engine;

	while (vdev->engine_count < count) {
		engine = vblit_engine_start(vdev, vdev->engine_count);
		if (IS_ERR(engine)) {
			stop_engines(vdev);
			return PTR_ERR(engine);
		}
		vdev->engines[vdev->engine_count++] = engine;
	}
	return 0;
}

/**
 * vblit_device_add - make a device node
 * @dev: does the DMA
 * @backend: how
 * @engines: how many engines, up to VBLIT_MAX_ENGINES
 * @priv: the backend's
 *
 * Returns: the device, or an ERR_PTR.
 */
struct vblit_device *vblit_device_add(struct device *dev, const struct vblit_backend *backend,
				      unsigned int engines, void *priv)
{
	struct vblit_device *vdev = kzalloc(sizeof(*vdev), GFP_KERNEL);
	int err;

	if (!vdev)
		return ERR_PTR(-ENOMEM);
	kref_init(&vdev->ref);
	vdev->dev = dev;
	vdev->backend = backend;
	vdev->priv = priv;
	vdev->own_view = vblit_has_own_view(dev);
	mutex_init(&vdev->attach_lock);
	INIT_LIST_HEAD(&vdev->attachments);
	init_waitqueue_head(&vdev->idle);
	init_rwsem(&vdev->submit_lock);
	mutex_init(&vdev->jobs_lock);
	INIT_LIST_HEAD(&vdev->files);
	spin_lock_init(&vdev->engine_lock);
	INIT_LIST_HEAD(&vdev->started);
	err = start_engines(vdev, engines);
	if (err)
		goto free;
	vdev->misc.minor = MISC_DYNAMIC_MINOR;
	vdev->misc.name = backend->name;
	vdev->misc.fops = &vblit_fops;
	vdev->misc.mode = 0660;
	vdev->misc.parent = dev;
	err = misc_register(&vdev->misc);
	if (err)
		goto stop_engines;
	mutex_lock(&devices_lock);
	list_add_tail(&vdev->node, &devices);
	mutex_unlock(&devices_lock);
	return vdev;

stop_engines:
	stop_engines(vdev);
free:
	kfree(vdev);
	return ERR_PTR(err);
}

/**
 * vblit_device_remove - undo vblit_device_add()
 * @vdev: device; files may be open and jobs may run
 */
void vblit_device_remove(struct vblit_device *vdev)
{
	mutex_lock(&devices_lock);
	list_del(&vdev->node);
	mutex_unlock(&devices_lock);
	misc_deregister(&vdev->misc);
	down_write(&vdev->submit_lock);
	WRITE_ONCE(vdev->gone, true);
	up_write(&vdev->submit_lock);
	vblit_cancel_jobs(vdev, NULL);
	/* What was being granted is a fence now; and the last callback has returned. */
	dmabuf_sync_flush();
	vblit_detach_all(vdev);
	stop_engines(vdev);
	vblit_device_put(vdev);
}
