// SPDX-License-Identifier: GPL-2.0-only
/*
 * dsync_exporter: reservation objects of its own, with any number of dma-bufs on each.
 *
 * It does not need dmabuf_sync: its dma-bufs can be there first.
 */
#include <linux/delay.h>
#include <linux/dma-buf.h>
#include <linux/dma-resv.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "../../kernel/compat.h"
#include "dsync_test.h"

/* They outlive the dma-bufs, each of which has a reference to the module. */
static struct dma_resv resvs[EXPORTER_RESVS];

struct dma_resv *dsync_exporter_resv(unsigned int index)
{
	return index < EXPORTER_RESVS ? &resvs[index] : NULL;
}
EXPORT_SYMBOL_GPL(dsync_exporter_resv);

/* There is no memory behind it: only its locks are of interest. */
static struct sg_table *buffer_map(struct dma_buf_attachment *attach,
				   enum dma_data_direction dir)
{
	return ERR_PTR(-ENODEV);
}

static void buffer_unmap(struct dma_buf_attachment *attach, struct sg_table *sgt,
			 enum dma_data_direction dir)
{
}

static void buffer_release(struct dma_buf *dmabuf)
{
}

static bool slow_attach;

module_param(slow_attach, bool, 0600);
MODULE_PARM_DESC(slow_attach, "devices are not attached, except for a signal");

static int buffer_attach(struct dma_buf *dmabuf, struct dma_buf_attachment *attach)
{
	while (READ_ONCE(slow_attach)) {
		msleep_interruptible(1);
		if (signal_pending(current))
			return -ERESTARTSYS;
	}
	return 0;
}

static const struct dma_buf_ops buffer_ops = {
	.attach = buffer_attach,
	.map_dma_buf = buffer_map,
	.unmap_dma_buf = buffer_unmap,
	.release = buffer_release,
};

/* As long as a test says, and for somebody who is killed no longer than that. */
static bool slow_begin, slow_end;

module_param(slow_begin, bool, 0600);
MODULE_PARM_DESC(slow_begin, "begin_cpu_access does not return, except for a signal");
module_param(slow_end, bool, 0600);
MODULE_PARM_DESC(slow_end, "end_cpu_access does not return");

static unsigned int fail_begin, begun, ended;
static DEFINE_SPINLOCK(calls_lock);

module_param(fail_begin, uint, 0600);
MODULE_PARM_DESC(fail_begin, "how many begin_cpu_access calls from now one fails with ENOSPC");
module_param(begun, uint, 0400);
MODULE_PARM_DESC(begun, "begin_cpu_access calls that did not fail");
module_param(ended, uint, 0400);
MODULE_PARM_DESC(ended, "end_cpu_access calls");

static atomic_t in_begin, in_end;

u32 dsync_exporter_in_begin(void)
{
	return atomic_read(&in_begin);
}
EXPORT_SYMBOL_GPL(dsync_exporter_in_begin);

u32 dsync_exporter_in_end(void)
{
	return atomic_read(&in_end);
}
EXPORT_SYMBOL_GPL(dsync_exporter_in_end);

static int cached_begin(struct dma_buf *dmabuf, enum dma_data_direction dir)
{
	int err = 0;

	atomic_inc(&in_begin);
	while (!err && READ_ONCE(slow_begin)) {
		msleep_interruptible(1);
		if (signal_pending(current))
			err = -ERESTARTSYS;
	}
	atomic_dec(&in_begin);
	spin_lock(&calls_lock);
	if (!err && fail_begin && !--fail_begin)
		err = -ENOSPC;
	begun += !err;
	spin_unlock(&calls_lock);
	return err;
}

static int cached_end(struct dma_buf *dmabuf, enum dma_data_direction dir)
{
	atomic_inc(&in_end);
	while (READ_ONCE(slow_end))
		usleep_range(1000, 2000);
	atomic_dec(&in_end);
	spin_lock(&calls_lock);
	ended++;
	spin_unlock(&calls_lock);
	return 0;
}

static const struct dma_buf_ops cached_ops = {
	.map_dma_buf = buffer_map,
	.unmap_dma_buf = buffer_unmap,
	.release = buffer_release,
	.begin_cpu_access = cached_begin,
	.end_cpu_access = cached_end,
};

/* By which dsync_test registers hooks; in their place these are not called. */
static const struct dma_buf_ops hooked_ops = {
	.map_dma_buf = buffer_map,
	.unmap_dma_buf = buffer_unmap,
	.release = buffer_release,
	.begin_cpu_access = cached_begin,
	.end_cpu_access = cached_end,
};

const struct dma_buf_ops *dsync_exporter_hooked_ops(void)
{
	return &hooked_ops;
}
EXPORT_SYMBOL_GPL(dsync_exporter_hooked_ops);

static const struct dma_buf_ops * const ops[] = {
	[EXPORTER_PLAIN] = &buffer_ops,
	[EXPORTER_CACHED] = &cached_ops,
	[EXPORTER_HOOKED] = &hooked_ops,
};

static long export(unsigned int index, unsigned int kind)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	struct dma_buf *dmabuf;
	int fd;

	if (kind >= ARRAY_SIZE(ops))
		return -EINVAL;
	info.ops = ops[kind];
	info.size = 16 * PAGE_SIZE;
	info.flags = O_RDWR;
	info.resv = dsync_exporter_resv(index);
	/* Not NULL; it belongs to nobody. */
	info.priv = &resvs;
	if (!info.resv)
		return -EINVAL;
	dmabuf = dma_buf_export(&info);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0) {
		dma_buf_put(dmabuf);
		return fd;
	}
	dma_buf_fd_install(dmabuf, fd);
	return fd;
}

/* Errors: EFAULT; ENOTTY; EINVAL no such object or kind; those of dma_buf_export(). */
static long exporter_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct dsync_test_call call;

	if (cmd != DSYNC_EXPORTER_EXPORT)
		return -ENOTTY;
	if (copy_from_user(&call, (void __user *)arg, sizeof(call)))
		return -EFAULT;
	return export(call.fd, call.value);
}

static const struct file_operations exporter_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = exporter_ioctl,
};

static struct miscdevice exporter_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "dsync_exporter",
	.fops = &exporter_fops,
	.mode = 0600,
};

static int __init dsync_exporter_init(void)
{
	unsigned int i;

	for (i = 0; i < EXPORTER_RESVS; i++)
		dma_resv_init(&resvs[i]);
	return misc_register(&exporter_misc);
}

static void __exit dsync_exporter_exit(void)
{
	unsigned int i;

	misc_deregister(&exporter_misc);
	for (i = 0; i < EXPORTER_RESVS; i++)
		dma_resv_fini(&resvs[i]);
}

module_init(dsync_exporter_init);
module_exit(dsync_exporter_exit);

MODULE_DESCRIPTION("Exporter of dma-bufs that share reservation objects");
MODULE_AUTHOR("The dmabuf-sync authors");
MODULE_LICENSE("GPL");
IMPORT_DMA_BUF_NS();
