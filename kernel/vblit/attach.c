// SPDX-License-Identifier: GPL-2.0-only
/*
 * vblit: dma-bufs as the device sees them.
 */
#include <linux/dma-mapping.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#include "vblit.h"

/**
 * DOC: one mapping for each buffer
 *
 * All jobs of a device share one attachment and one mapping of a dma-buf.
 * Where DMA is bounced a mapping is a copy: with two of them, a job would not
 * see what the job before it wrote, and whichever was unmapped last would win.
 * For the same reason it is bidirectional, also for a buffer that is only
 * read: the next job may write it.
 *
 * A buffer is attached when a job is submitted, so that errors come early, and
 * mapped when the job is granted: then the CPU is off the buffer, and stays
 * off until the last job has unmapped it and the bytes are back in memory.
 *
 * An exporter may take long to attach or detach, or wait for who does something
 * else to its buffer: others, with other buffers, do not wait for that.
 */

static struct vblit_attachment *find(struct vblit_device *vdev, struct dma_buf *dmabuf)
{
	struct vblit_attachment *attachment;

	list_for_each_entry(attachment, &vdev->attachments, node)
		if (attachment->dmabuf == dmabuf)
			return attachment;
	return NULL;
}

static struct vblit_attachment *make(struct vblit_device *vdev, struct dma_buf *dmabuf)
{
	struct vblit_attachment *attachment;
	void *err;

	attachment = kzalloc(sizeof(*attachment), GFP_KERNEL_ACCOUNT);
	if (!attachment)
		return ERR_PTR(-ENOMEM);
	attachment->attach = dma_buf_attach(dmabuf, vdev->dev);
	if (IS_ERR(attachment->attach)) {
		err = ERR_CAST(attachment->attach);
		kfree(attachment);
		return err;
	}
	get_dma_buf(dmabuf);
	mutex_init(&attachment->lock);
	attachment->dmabuf = dmabuf;
	attachment->users = 1;
	return attachment;
}

/* Of what is on no list. */
static void destroy(struct vblit_attachment *attachment)
{
	if (attachment->attach)
		dma_buf_detach(attachment->dmabuf, attachment->attach);
	dma_buf_put(attachment->dmabuf);
	mutex_destroy(&attachment->lock);
	kfree(attachment);
}

/**
 * vblit_attach - let the device know a dma-buf
 * @vdev: device, which does not go meanwhile
 * @dmabuf: buffer
 *
 * Returns: a counted attachment, or what the exporter says as an ERR_PTR.
 */
struct vblit_attachment *vblit_attach(struct vblit_device *vdev, struct dma_buf *dmabuf)
{
	struct vblit_attachment *attachment, *made = NULL;

again:
	mutex_lock(&vdev->attach_lock);
	attachment = find(vdev, dmabuf);
	if (attachment) {
		attachment->users++;
	} else if (made) {
		list_add(&made->node, &vdev->attachments);
		attachment = made;
	}
	mutex_unlock(&vdev->attach_lock);
	if (!attachment) {
		made = make(vdev, dmabuf);
		if (IS_ERR(made))
			return made;
		goto again;
	}
	/* Somebody else was faster. */
	if (made && made != attachment)
		destroy(made);
	return attachment;
}

static void in_use(struct vblit_device *vdev)
{
	atomic_inc(&vdev->busy);
}

static void not_in_use(struct vblit_device *vdev)
{
	if (atomic_dec_and_test(&vdev->busy))
		wake_up_all(&vdev->idle);
}

/**
 * vblit_detach - undo vblit_attach()
 * @vdev: device
 * @attachment: attachment
 */
void vblit_detach(struct vblit_device *vdev, struct vblit_attachment *attachment)
{
	bool last;

	mutex_lock(&vdev->attach_lock);
	last = !--attachment->users;
	if (last) {
		list_del(&attachment->node);
		in_use(vdev);
	}
	mutex_unlock(&vdev->attach_lock);
	if (!last)
		return;
	destroy(attachment);
	not_in_use(vdev);
}

/**
 * vblit_detach_all - the device goes; wait until no job needs it
 * @vdev: device without jobs that have still to be mapped
 *
 * The jobs keep their dma-bufs.
 */
void vblit_detach_all(struct vblit_device *vdev)
{
	struct vblit_attachment *attachment;

	wait_event(vdev->idle, !atomic_read(&vdev->busy));
	mutex_lock(&vdev->attach_lock);
	list_for_each_entry(attachment, &vdev->attachments, node) {
		dma_buf_detach(attachment->dmabuf, attachment->attach);
		attachment->attach = NULL;
	}
	mutex_unlock(&vdev->attach_lock);
	/* Those that were taken off the list just before. */
	wait_event(vdev->idle, !atomic_read(&vdev->busy));
}

static int check_mapping(struct vblit_device *vdev, struct sg_table *sgt, size_t size)
{
	struct scatterlist *sg;
	unsigned int i;
	u64 length = 0;

	for_each_sgtable_dma_sg(sgt, sg, i)
		length += sg_dma_len(sg);
	if (length < size)
		return -EINVAL;
	return vdev->backend->check ? vdev->backend->check(vdev->dev, sgt) : 0;
}

/**
 * vblit_map - give the device addresses for a buffer
 * @vdev: device
 * @attachment: attachment
 *
 * Returns: 0; -EINVAL less than the whole buffer; what the backend and the
 * exporter say.
 */
int vblit_map(struct vblit_device *vdev, struct vblit_attachment *attachment)
{
	struct sg_table *sgt;
	int err = 0;

	mutex_lock(&attachment->lock);
	if (!attachment->mapped) {
		sgt = dma_buf_map_attachment_unlocked(attachment->attach, DMA_BIDIRECTIONAL);
		if (IS_ERR(sgt)) {
			err = PTR_ERR(sgt);
			goto unlock;
		}
		err = check_mapping(vdev, sgt, attachment->dmabuf->size);
		if (err) {
			dma_buf_unmap_attachment_unlocked(attachment->attach, sgt,
							  DMA_BIDIRECTIONAL);
			goto unlock;
		}
		vblit_check_coherency(vdev->dev, attachment->dmabuf, sgt);
		attachment->sgt = sgt;
		in_use(vdev);
	}
	attachment->mapped++;
unlock:
	mutex_unlock(&attachment->lock);
	return err;
}

/**
 * vblit_unmap - undo vblit_map()
 * @vdev: device
 * @attachment: attachment
 */
void vblit_unmap(struct vblit_device *vdev, struct vblit_attachment *attachment)
{
	bool last;

	mutex_lock(&attachment->lock);
	last = !--attachment->mapped;
	if (last) {
		dma_buf_unmap_attachment_unlocked(attachment->attach, attachment->sgt,
						  DMA_BIDIRECTIONAL);
		attachment->sgt = NULL;
	}
	mutex_unlock(&attachment->lock);
	if (last)
		not_in_use(vdev);
}

/**
 * vblit_cursor_init - start at the beginning of a buffer
 * @cursor: cursor
 * @attachment: mapped buffer
 */
void vblit_cursor_init(struct vblit_cursor *cursor, struct vblit_attachment *attachment)
{
	cursor->sgt = attachment->sgt;
	cursor->sg = attachment->sgt->sgl;
	cursor->start = 0;
}

/**
 * vblit_cursor_seek - the DMA address of a byte
 * @cursor: cursor
 * @offset: byte of the buffer
 * @length: (in, out) bytes wanted; how many follow each other
 *
 * Returns: the address.
 */
dma_addr_t vblit_cursor_seek(struct vblit_cursor *cursor, u64 offset, size_t *length)
{
	if (offset < cursor->start) {
		cursor->sg = cursor->sgt->sgl;
		cursor->start = 0;
	}
	while (offset - cursor->start >= sg_dma_len(cursor->sg)) {
		cursor->start += sg_dma_len(cursor->sg);
		cursor->sg = sg_next(cursor->sg);
	}
	offset -= cursor->start;
	*length = min_t(u64, *length, sg_dma_len(cursor->sg) - offset);
	return sg_dma_address(cursor->sg) + offset;
}
