// SPDX-License-Identifier: GPL-2.0-only
/*
 * vdisplay: buffers, from the lock to the mapping.
 */
#include <linux/crc32.h>
#include <linux/dma-direct.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#include "vdisplay.h"

/**
 * DOC: what a display does to a buffer
 *
 * It locks it for reading by DMA, which waits for writers and keeps them out,
 * and only then maps it: the mapping is taken while nobody writes. When another
 * buffer is shown it is unmapped first and unlocked after it. This is the order
 * for every driver that keeps a buffer for long and locks it by hand.
 *
 * What is locked is the whole dma-buf, and once for all that a display shows of
 * it: a flip from one part to another would else wait behind a writer that waits
 * for the first, for ever.
 *
 * Nobody else can revoke the lock of a device, since nothing would stop it from
 * reading. So the display itself stops showing a buffer that was locked hold_timeout_ms
 * ago as soon as somebody wants it.
 */

static int open_buffer(struct vdisplay_buffer *buffer, const struct vdisplay_flip *flip)
{
	struct dma_buf *dmabuf = dma_buf_get(flip->fd);

	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	buffer->dmabuf = dmabuf;
	if (!(dmabuf->file->f_mode & FMODE_READ))
		return -EBADF;
	if (!flip->length || flip->offset >= dmabuf->size ||
	    flip->length > dmabuf->size - flip->offset)
		return -EINVAL;
	buffer->offset = flip->offset;
	buffer->length = flip->length;
	return 0;
}

static struct vdisplay_lock *lock_dmabuf(struct dma_buf *dmabuf, bool wait)
{
	struct vdisplay_lock *lock = kmalloc(sizeof(*lock), GFP_KERNEL_ACCOUNT);
	int err;

	if (!lock)
		return ERR_PTR(-ENOMEM);
	refcount_set(&lock->users, 1);
	lock->sync = dmabuf_sync_init("vdisplay", NULL, NULL);
	if (IS_ERR(lock->sync)) {
		err = PTR_ERR(lock->sync);
		goto free_lock;
	}
	err = dmabuf_sync_get(lock->sync, dmabuf, DMA_BUF_ACCESS_DMA_R);
	if (!err)
		err = wait ? dmabuf_sync_lock(lock->sync) : dmabuf_sync_trylock(lock->sync);
	if (err)
		goto fini_sync;
	return lock;

fini_sync:
	dmabuf_sync_fini(lock->sync);
free_lock:
	kfree(lock);
	return ERR_PTR(err);
}

static void put_lock(struct vdisplay_lock *lock)
{
	if (!refcount_dec_and_test(&lock->users))
		return;
	dmabuf_sync_unlock(lock->sync);
	dmabuf_sync_fini(lock->sync);
	kfree(lock);
}

/* The lock of what is shown, if that is of the same dma-buf. */
static struct vdisplay_lock *share_lock(struct vdisplay *display, const struct dma_buf *dmabuf)
{
	struct vdisplay_lock *lock = NULL;

	spin_lock(&display->lock);
	if (display->front && display->front->dmabuf == dmabuf) {
		lock = display->front->lock;
		refcount_inc(&lock->users);
	}
	spin_unlock(&display->lock);
	return lock;
}

static int lock_buffer(struct vdisplay_buffer *buffer, struct vdisplay *display, bool wait)
{
	struct vdisplay_lock *lock = share_lock(display, buffer->dmabuf);

	if (!lock)
		lock = lock_dmabuf(buffer->dmabuf, wait);
	if (IS_ERR(lock))
		return PTR_ERR(lock);
	buffer->lock = lock;
	return 0;
}

/* Addresses have to lead to memory, and enough of it. */
static int check_mapping(struct vdisplay_buffer *buffer)
{
	struct scatterlist *sg;
	u64 length = 0;
	unsigned int i;

	for_each_sgtable_dma_sg(buffer->sgt, sg, i) {
		phys_addr_t first = dma_to_phys(buffer->dev, sg_dma_address(sg));

		if (!sg_dma_len(sg))
			continue;
		if (!pfn_valid(PHYS_PFN(first)) ||
		    !pfn_valid(PHYS_PFN(first + sg_dma_len(sg) - 1)))
			return -EFAULT;
		length += sg_dma_len(sg);
	}
	return length < buffer->dmabuf->size ? -EINVAL : 0;
}

static int map_buffer(struct vdisplay_buffer *buffer)
{
	struct dma_buf_attachment *attach = dma_buf_attach(buffer->dmabuf, buffer->dev);
	struct sg_table *sgt;

	if (IS_ERR(attach))
		return PTR_ERR(attach);
	buffer->attach = attach;
	sgt = dma_buf_map_attachment_unlocked(attach, DMA_TO_DEVICE);
	if (IS_ERR(sgt))
		return PTR_ERR(sgt);
	buffer->sgt = sgt;
	return check_mapping(buffer);
}

/**
 * vdisplay_buffer_get - lock and map a buffer
 * @display: display that will show it
 * @flip: as user space gave it
 *
 * Returns: the buffer or an ERR_PTR, see struct vdisplay_flip.
 */
struct vdisplay_buffer *vdisplay_buffer_get(struct vdisplay *display,
					    const struct vdisplay_flip *flip)
{
	struct vdisplay_buffer *buffer = kzalloc(sizeof(*buffer), GFP_KERNEL_ACCOUNT);
	bool wait = !(flip->flags & VDISPLAY_FLIP_NONBLOCK);
	int err;

	if (!buffer)
		return ERR_PTR(-ENOMEM);
	buffer->dev = display->dev;
	buffer->user_data = flip->user_data;
	err = open_buffer(buffer, flip) ?: lock_buffer(buffer, display, wait) ?: map_buffer(buffer);
	if (err) {
		vdisplay_buffer_put(buffer);
		return ERR_PTR(err);
	}
	return buffer;
}

/**
 * vdisplay_buffer_put - unmap and unlock a buffer
 * @buffer: as far as it was made
 */
void vdisplay_buffer_put(struct vdisplay_buffer *buffer)
{
	if (buffer->sgt)
		dma_buf_unmap_attachment_unlocked(buffer->attach, buffer->sgt, DMA_TO_DEVICE);
	if (buffer->attach)
		dma_buf_detach(buffer->dmabuf, buffer->attach);
	if (buffer->lock)
		put_lock(buffer->lock);
	if (buffer->dmabuf)
		dma_buf_put(buffer->dmabuf);
	kfree(buffer);
}

/**
 * vdisplay_buffer_overdue - does somebody wait for it, after its time
 * @buffer: buffer
 *
 * Returns: true if it has to be given back.
 */
bool vdisplay_buffer_overdue(const struct vdisplay_buffer *buffer)
{
	return dmabuf_sync_overdue(buffer->lock->sync);
}

/**
 * vdisplay_buffer_crc - read a part of the picture
 * @buffer: buffer
 * @crc: of what comes before
 * @start: first byte of the picture
 * @end: behind the last
 *
 * Returns: the CRC, not yet inverted.
 */
u32 vdisplay_buffer_crc(struct vdisplay_buffer *buffer, u32 crc, u64 start, u64 end)
{
	struct scatterlist *sg;
	unsigned int i;
	u64 at = 0;

	start += buffer->offset;
	end += buffer->offset;
	for_each_sgtable_dma_sg(buffer->sgt, sg, i) {
		u64 next = at + sg_dma_len(sg);

		while (start < min(end, next)) {
			phys_addr_t phys = dma_to_phys(buffer->dev,
						       sg_dma_address(sg) + start - at);
			size_t part = min_t(u64, min(end, next) - start,
					    PAGE_SIZE - offset_in_page(phys));
			u8 *data = kmap_local_page(pfn_to_page(PHYS_PFN(phys)));

			crc = crc32_le(crc, data + offset_in_page(phys), part);
			kunmap_local(data);
			start += part;
			cond_resched();
		}
		at = next;
	}
	return crc;
}
