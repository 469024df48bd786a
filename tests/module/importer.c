// SPDX-License-Identifier: GPL-2.0-only
/*
 * dsync_importer: devices of every kind, as importers of dma-bufs.
 */
#include <linux/dma-buf.h>
#include <linux/dma-direct.h>
#include <linux/dma-mapping.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include <linux/dmabuf-sync.h>
#include "../../kernel/compat.h"

/**
 * DOC: dsync_importer
 *
 * For tests only. Every open file of /dev/dsync_importer is a device with a DMA
 * mask, a segment limit and a boundary of its own, and an attachment that stays
 * for as long as the test wants. It reads and writes where its DMA addresses
 * lead, which is a bounce buffer if the mapping has one.
 */

#define OP_SETUP	0	/* arg: DMA mask, largest segment, boundary mask */
#define OP_ATTACH	1	/* fd */
#define OP_DETACH	2
#define OP_MAP		3	/* arg: direction; out: see map_info() */
#define OP_UNMAP	4
#define OP_START_DMA	5	/* arg: direction */
#define OP_END_DMA	6
#define OP_POKE		7	/* arg: offset, length, byte */
#define OP_PEEK		8	/* arg: offset; out: byte */

struct importer_call {
	__u32 op;
	__s32 fd;
	__u64 arg[3];
	__u64 out[4];
};

#define IMPORTER_CALL	_IOWR(0xA8, 0xE8, struct importer_call)

/**
 * struct importer - an open file
 * @lock: all of it
 * @pdev: the device
 * @attach: attachment with a reference to its dma-buf, or NULL
 * @sgt: mapping or NULL
 * @dir: of @sgt
 */
struct importer {
	struct mutex lock;	/* see above */
	struct platform_device *pdev;
	struct dma_buf_attachment *attach;
	struct sg_table *sgt;
	enum dma_data_direction dir;
};

static int setup(struct importer *importer, const __u64 *arg)
{
	struct device *dev = &importer->pdev->dev;

	if (importer->attach)
		return -EBUSY;
	/* What no real device has shall get as far as the exporter. */
	*dev->dma_mask = arg[0];
	dev->coherent_dma_mask = arg[0];
	dma_set_max_seg_size(dev, arg[1]);
	dma_set_seg_boundary(dev, arg[2]);
	return 0;
}

static int attach(struct importer *importer, int fd)
{
	struct dma_buf_attachment *attach;
	struct dma_buf *dmabuf;

	if (importer->attach)
		return -EBUSY;
	dmabuf = dma_buf_get(fd);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	attach = dma_buf_attach(dmabuf, &importer->pdev->dev);
	if (IS_ERR(attach)) {
		dma_buf_put(dmabuf);
		return PTR_ERR(attach);
	}
	importer->attach = attach;
	return 0;
}

/* Number of segments, the longest, the highest and the first address. */
static void map_info(struct importer *importer, __u64 *out)
{
	struct device *dev = &importer->pdev->dev;
	struct scatterlist *sg;
	unsigned int i;

	memset(out, 0, 4 * sizeof(*out));
	out[3] = sg_dma_address(importer->sgt->sgl);
	for_each_sgtable_dma_sg(importer->sgt, sg, i) {
		u64 last = sg_dma_address(sg) + sg_dma_len(sg) - 1;
		u64 boundary = dma_get_seg_boundary(dev);

		out[0]++;
		out[1] = max_t(u64, out[1], sg_dma_len(sg));
		out[2] = max(out[2], last);
		WARN_ON((sg_dma_address(sg) & ~boundary) != (last & ~boundary));
	}
}

static int map(struct importer *importer, struct importer_call *call)
{
	struct sg_table *sgt;

	if (!importer->attach || importer->sgt)
		return -EBUSY;
	sgt = dma_buf_map_attachment_unlocked(importer->attach, call->arg[0]);
	if (IS_ERR(sgt))
		return PTR_ERR(sgt);
	importer->sgt = sgt;
	importer->dir = call->arg[0];
	map_info(importer, call->out);
	return 0;
}

static int unmap(struct importer *importer)
{
	if (!importer->sgt)
		return -EINVAL;
	dma_buf_unmap_attachment_unlocked(importer->attach, importer->sgt, importer->dir);
	importer->sgt = NULL;
	return 0;
}

static int detach(struct importer *importer)
{
	struct dma_buf *dmabuf;

	if (!importer->attach || importer->sgt)
		return -EINVAL;
	dmabuf = importer->attach->dmabuf;
	dma_buf_detach(dmabuf, importer->attach);
	dma_buf_put(dmabuf);
	importer->attach = NULL;
	return 0;
}

/* The byte of memory that the device sees there. */
static u8 *device_byte(struct importer *importer, u64 offset)
{
	struct device *dev = &importer->pdev->dev;
	struct scatterlist *sg;
	unsigned int i;

	for_each_sgtable_dma_sg(importer->sgt, sg, i) {
		if (offset < sg_dma_len(sg)) {
			phys_addr_t phys = dma_to_phys(dev, sg_dma_address(sg) + offset);

			return (u8 *)kmap_local_page(pfn_to_page(PHYS_PFN(phys))) +
			       offset_in_page(phys);
		}
		offset -= sg_dma_len(sg);
	}
	return NULL;
}

static int access(struct importer *importer, struct importer_call *call)
{
	u64 count = call->op == OP_POKE ? call->arg[1] : 1, i;

	if (!importer->sgt)
		return -EINVAL;
	for (i = 0; i < count; i++) {
		u8 *byte = device_byte(importer, call->arg[0] + i);

		if (!byte)
			return -EINVAL;
		if (call->op == OP_POKE)
			*byte = call->arg[2];
		else
			call->out[0] = *byte;
		kunmap_local(byte);
	}
	return 0;
}

static int do_call(struct importer *importer, struct importer_call *call)
{
	switch (call->op) {
	case OP_SETUP:
		return setup(importer, call->arg);
	case OP_ATTACH:
		return attach(importer, call->fd);
	case OP_DETACH:
		return detach(importer);
	case OP_MAP:
		return map(importer, call);
	case OP_UNMAP:
		return unmap(importer);
	case OP_START_DMA:
		return importer->attach ?
		       dma_buf_attachment_start_dma(importer->attach, call->arg[0]) : -EINVAL;
	case OP_END_DMA:
		if (importer->attach)
			dma_buf_attachment_end_dma(importer->attach);
		return 0;
	case OP_POKE:
	case OP_PEEK:
		return access(importer, call);
	default:
		return -ENOTTY;
	}
}

static long importer_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct importer *importer = file->private_data;
	struct importer_call call;
	int err;

	if (cmd != IMPORTER_CALL)
		return -ENOTTY;
	if (copy_from_user(&call, (void __user *)arg, sizeof(call)))
		return -EFAULT;
	mutex_lock(&importer->lock);
	err = do_call(importer, &call);
	mutex_unlock(&importer->lock);
	if (err)
		return err;
	return copy_to_user((void __user *)arg, &call, sizeof(call)) ? -EFAULT : 0;
}

static int importer_open(struct inode *inode, struct file *file)
{
	struct importer *importer = kzalloc(sizeof(*importer), GFP_KERNEL);
	int err;

	if (!importer)
		return -ENOMEM;
	importer->pdev = platform_device_register_simple("dsync_importer", PLATFORM_DEVID_AUTO,
							 NULL, 0);
	if (IS_ERR(importer->pdev)) {
		err = PTR_ERR(importer->pdev);
		goto free;
	}
	err = dma_coerce_mask_and_coherent(&importer->pdev->dev, DMA_BIT_MASK(64));
	if (err)
		goto unregister;
	mutex_init(&importer->lock);
	file->private_data = importer;
	return 0;

unregister:
	platform_device_unregister(importer->pdev);
free:
	kfree(importer);
	return err;
}

/* Its own file leads to the memory, as a GEM object's does. */
static int importer_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct importer *importer = file->private_data;
	int err = -EINVAL;

	mutex_lock(&importer->lock);
	if (importer->attach)
		err = dma_buf_mmap(importer->attach->dmabuf, vma, vma->vm_pgoff);
	mutex_unlock(&importer->lock);
	return err;
}

static int importer_release(struct inode *inode, struct file *file)
{
	struct importer *importer = file->private_data;

	unmap(importer);
	detach(importer);
	platform_device_unregister(importer->pdev);
	mutex_destroy(&importer->lock);
	kfree(importer);
	return 0;
}

static const struct file_operations importer_fops = {
	.owner = THIS_MODULE,
	.open = importer_open,
	.release = importer_release,
	.mmap = importer_mmap,
	.unlocked_ioctl = importer_ioctl,
};

static struct miscdevice importer_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "dsync_importer",
	.fops = &importer_fops,
	.mode = 0600,
};
module_misc_device(importer_misc);

MODULE_DESCRIPTION("Importers for tests of dma-buf exporters");
MODULE_AUTHOR("The dmabuf-sync authors");
MODULE_LICENSE("GPL");
IMPORT_DMA_BUF_NS();
