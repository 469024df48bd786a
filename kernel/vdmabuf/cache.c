// SPDX-License-Identifier: GPL-2.0-only
/*
 * vdmabuf: who sees whose bytes when.
 */
#include <linux/dma-fence.h>
#include <linux/dma-mapping.h>
#include <linux/dma-resv.h>
#include <linux/highmem.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "buffer.h"

/**
 * DOC: who synchronises
 *
 * Each map_dma_buf is a mapping of its own, cut to what its device can take.
 * On a machine with coherent DMA that is all. Elsewhere a mapping has its own
 * view of the memory: lines of a cache, or, when the memory is bounced
 * (swiotlb), a whole copy. These are the moments at which bytes move:
 *
 * - map: memory to device.
 * - begin_cpu_access: device to memory, for every mapping there is.
 * - end_cpu_access after writing: memory to device, for every mapping there
 *   is, also one that was made long before. After reading nothing has changed.
 * - unmap: device to memory, but for what the CPU writes meanwhile.
 *
 * With dmabuf_sync a CPU access is a range, and only its bytes move (begin_range,
 * end_range); the CPU and a device may then use the buffer at the same time. As
 * long as somebody has locked bytes for writing, begin and end_cpu_access (the
 * ioctl DMA_BUF_IOCTL_SYNC, for one) keep to these: a device may be at work on
 * the others.
 *
 * What follows from that for an importer, if its device is not coherent:
 *
 * - It may map and unmap whenever it likes as long as its device does not use
 *   the memory, also while the CPU writes under a lock. Between begin and end of a
 *   CPU write without one, the bytes of devices that were mapped before count for
 *   nothing (cpu_newer): unmapping then does not put them over what the CPU wrote.
 *   One that maps only then has to stay mapped until the end: nobody says who has
 *   begun, or whether he has died since, so nothing is remembered for later mappings.
 * - DMA happens between map and unmap and not during a CPU access. Its fence,
 *   if it has one, is waited for by begin_cpu_access before bytes move;
 *   the dma-buf core waits only afterwards.
 * - One that keeps its mapping and says when its device uses the memory, with
 *   dma_buf_attachment_start_dma() and _end_dma(), leaves everything to us:
 *   bytes move at these two moments, no others, and only if they are newer.
 *   Any number of devices may take turns like that.
 * - One that keeps its mapping and does not say it need not do anything either
 *   as long as no other device writes. Should two devices take turns, each
 *   importer has to call dma_sync_sgtable_for_device() before and
 *   dma_sync_sgtable_for_cpu() after its DMA: no exporter can know which of two
 *   copies is the newer. One that unmaps after its turn need not: if no fence
 *   is pending the others are brought up to date.
 * - Asking for DMA_FROM_DEVICE is answered with a bidirectional mapping.
 *   Otherwise a bounced device that writes a part of the buffer would overwrite
 *   the rest with old bytes, and so would the next begin_cpu_access if the
 *   device had written nothing at all.
 */

/**
 * struct cursor - a place in a mapping; it only goes forward
 * @mapping: mapping
 * @mem: segment of memory
 * @mem_start: its first byte
 * @dma: segment of the device's addresses, which need not be the same
 * @dma_start: its first byte
 */
struct cursor {
	struct vdmabuf_mapping *mapping;
	struct scatterlist *mem;
	size_t mem_start;
	struct scatterlist *dma;
	size_t dma_start;
};

static void cursor_init(struct cursor *at, struct vdmabuf_mapping *mapping)
{
	at->mapping = mapping;
	at->mem = mapping->sgt.sgl;
	at->mem_start = 0;
	at->dma = mapping->sgt.sgl;
	at->dma_start = 0;
}

static void sync_bytes(struct cursor *at, size_t first, size_t last, bool for_cpu)
{
	struct vdmabuf_mapping *mapping = at->mapping;
	size_t pos = first, end;

	while (pos <= last) {
		while (pos >= at->mem_start + at->mem->length) {
			at->mem_start += at->mem->length;
			at->mem = sg_next(at->mem);
		}
		while (pos >= at->dma_start + sg_dma_len(at->dma)) {
			at->dma_start += sg_dma_len(at->dma);
			at->dma = sg_next(at->dma);
		}
		end = min3(last + 1, at->mem_start + at->mem->length,
			   at->dma_start + sg_dma_len(at->dma));
		if (for_cpu)
			dma_sync_single_range_for_cpu(mapping->dev, sg_dma_address(at->dma),
						      pos - at->dma_start, end - pos,
						      mapping->dir);
		else
			dma_sync_single_range_for_device(mapping->dev, sg_dma_address(at->dma),
							 pos - at->dma_start, end - pos,
							 mapping->dir);
		pos = end;
		cond_resched();
	}
	vdmabuf_count(VDMABUF_COUNT_SYNCED_BYTES, last - first + 1);
}

/* Device to memory, around what the CPU writes. */
static void pull(struct vdmabuf_buffer *buffer, struct vdmabuf_mapping *mapping,
		 size_t first, size_t last)
{
	struct vdmabuf_write *write;
	bool any = false;
	struct cursor at;

	cursor_init(&at, mapping);
	list_for_each_entry(write, &buffer->writes, node) {
		if (write->first > last)
			break;
		if (write->first > first) {
			sync_bytes(&at, first, write->first - 1, true);
			any = true;
		}
		first = max(first, write->last + 1);
		if (first > last)
			break;
	}
	if (first <= last) {
		sync_bytes(&at, first, last, true);
		any = true;
	}
	vdmabuf_count(any ? VDMABUF_COUNT_FOR_CPU : VDMABUF_COUNT_FOR_CPU_SKIPPED, 1);
}

/* Memory to device. */
static void push(struct vdmabuf_mapping *mapping, size_t first, size_t last)
{
	struct cursor at;

	cursor_init(&at, mapping);
	sync_bytes(&at, first, last, false);
	vdmabuf_count(VDMABUF_COUNT_FOR_DEVICE, 1);
}

/**
 * vdmabuf_pull - bring all bytes of a device back that the CPU does not write
 * @buffer: buffer, locked
 * @mapping: one of its mappings
 */
void vdmabuf_pull(struct vdmabuf_buffer *buffer, struct vdmabuf_mapping *mapping)
{
	pull(buffer, mapping, 0, vdmabuf_size(buffer) - 1);
}

/**
 * vdmabuf_refresh - a device has brought its bytes back: those that rest see them too
 * @buffer: buffer, locked
 * @resv: its reservation object
 */
void vdmabuf_refresh(struct vdmabuf_buffer *buffer, struct dma_resv *resv)
{
	struct vdmabuf_mapping *other;
	bool resting;

	if (list_empty(&buffer->mappings))
		return;
	resting = dma_resv_test_signaled(resv, DMA_RESV_USAGE_READ);
	list_for_each_entry(other, &buffer->mappings, node) {
		if (other->announced)
			other->stale = true;
		else if (resting && !other->cpu_newer)
			push(other, 0, vdmabuf_size(buffer) - 1);
	}
}

/* Memory is current: the device cannot have written, or not since its bytes came back. */
static bool nothing_newer(const struct vdmabuf_mapping *mapping)
{
	return mapping->cpu_newer || mapping->announced || mapping->dir == DMA_TO_DEVICE;
}

static void bytes_for_cpu(struct vdmabuf_buffer *buffer, size_t first, size_t last)
{
	struct vdmabuf_mapping *mapping;

	if (buffer->vaddr)
		invalidate_kernel_vmap_range(buffer->vaddr + first, last - first + 1);
	list_for_each_entry(mapping, &buffer->mappings, node) {
		if (nothing_newer(mapping))
			vdmabuf_count(VDMABUF_COUNT_FOR_CPU_SKIPPED, 1);
		else
			pull(buffer, mapping, first, last);
	}
}

static void bytes_for_device(struct vdmabuf_buffer *buffer, size_t first, size_t last)
{
	struct vdmabuf_mapping *mapping;

	if (buffer->vaddr)
		flush_kernel_vmap_range(buffer->vaddr + first, last - first + 1);
	list_for_each_entry(mapping, &buffer->mappings, node) {
		if (mapping->announced) {
			mapping->stale = true;
			vdmabuf_count(VDMABUF_COUNT_FOR_DEVICE_SKIPPED, 1);
		} else {
			push(mapping, first, last);
		}
	}
}

static void nothing_for_device(struct vdmabuf_buffer *buffer)
{
	struct vdmabuf_mapping *mapping;

	list_for_each_entry(mapping, &buffer->mappings, node)
		vdmabuf_count(VDMABUF_COUNT_FOR_DEVICE_SKIPPED, 1);
}

/*
 * Those of this moment only: a neighbour that adds fence after fence does not
 * keep the CPU away.
 */
static int wait_for_fences(struct dma_resv *resv, bool write)
{
	struct dma_fence *fence;
	long err;

	err = dma_resv_get_singleton(resv, dma_resv_usage_rw(write), &fence);
	if (err || !fence)
		return err;
	err = dma_fence_wait(fence, true);
	dma_fence_put(fence);
	return err;
}

/**
 * vdmabuf_begin_cpu_access - let the CPU see what devices have written
 * @dmabuf: buffer; its dma_resv need not be locked
 * @direction: DMA_FROM_DEVICE if the CPU is only going to read
 *
 * May be called again before its end, to write after reading in particular.
 * Without a device nothing is done: one that comes later maps what is there.
 *
 * Returns: 0; -ERESTARTSYS or -EINTR for a signal, -ENOMEM: then nothing has
 * begun.
 */
int vdmabuf_begin_cpu_access(struct dma_buf *dmabuf, enum dma_data_direction direction)
{
	struct vdmabuf_buffer *buffer = dmabuf->priv;
	bool write = direction != DMA_FROM_DEVICE;
	struct vdmabuf_mapping *mapping;
	int err;

	if (list_empty_careful(&buffer->mappings))
		return 0;
	err = wait_for_fences(dmabuf->resv, write);
	if (err)
		return err;
	err = mutex_lock_killable(&buffer->lock);
	if (err)
		return err;
	bytes_for_cpu(buffer, 0, vdmabuf_size(buffer) - 1);
	if (list_empty(&buffer->writes))
		list_for_each_entry(mapping, &buffer->mappings, node)
			mapping->cpu_newer |= write;
	mutex_unlock(&buffer->lock);
	return 0;
}

/**
 * vdmabuf_end_cpu_access - let devices see what the CPU has written
 * @dmabuf: buffer; its dma_resv need not be locked
 * @direction: DMA_FROM_DEVICE if the CPU has only read
 *
 * Returns: 0.
 */
int vdmabuf_end_cpu_access(struct dma_buf *dmabuf, enum dma_data_direction direction)
{
	struct vdmabuf_buffer *buffer = dmabuf->priv;
	struct vdmabuf_mapping *mapping;
	struct vdmabuf_write *write;

	mutex_lock(&buffer->lock);
	if (direction == DMA_FROM_DEVICE) {
		nothing_for_device(buffer);
		goto unlock;
	}
	if (list_empty(&buffer->writes))
		bytes_for_device(buffer, 0, vdmabuf_size(buffer) - 1);
	list_for_each_entry(write, &buffer->writes, node)
		bytes_for_device(buffer, write->first, write->last);
	list_for_each_entry(mapping, &buffer->mappings, node)
		mapping->cpu_newer = false;
unlock:
	mutex_unlock(&buffer->lock);
	return 0;
}

/* A range may go beyond the end; false if all of it does. */
static bool clamp_range(struct vdmabuf_buffer *buffer, loff_t first, loff_t last,
			struct vdmabuf_write *range)
{
	size_t size = vdmabuf_size(buffer);

	if (first >= size)
		return false;
	range->first = first;
	range->last = min_t(loff_t, last, size - 1);
	return true;
}

/* In order. Locks are taken upwards more often than not. */
static void add_write(struct vdmabuf_buffer *buffer, struct vdmabuf_write *write)
{
	struct vdmabuf_write *before;

	list_for_each_entry_reverse(before, &buffer->writes, node)
		if (before->first < write->first)
			break;
	list_add(&write->node, &before->node);
}

/**
 * vdmabuf_begin_range - let the CPU see what devices have written to some bytes
 * @dmabuf: buffer
 * @first: first byte
 * @last: last byte, perhaps beyond the end
 * @direction: DMA_FROM_DEVICE if the CPU is only going to read
 *
 * Returns: 0; -ENOMEM; -EINTR.
 */
int vdmabuf_begin_range(struct dma_buf *dmabuf, loff_t first, loff_t last,
			enum dma_data_direction direction)
{
	struct vdmabuf_buffer *buffer = dmabuf->priv;
	struct vdmabuf_write range, *write = NULL;
	int err;

	if (!clamp_range(buffer, first, last, &range))
		return 0;
	if (direction != DMA_FROM_DEVICE) {
		write = kmemdup(&range, sizeof(range), GFP_KERNEL_ACCOUNT);
		if (!write)
			return -ENOMEM;
	}
	err = mutex_lock_killable(&buffer->lock);
	if (err) {
		kfree(write);
		return err;
	}
	bytes_for_cpu(buffer, range.first, range.last);
	if (write)
		add_write(buffer, write);
	mutex_unlock(&buffer->lock);
	return 0;
}

/* Take a range off the list; it may be a part of one there, and is not begun twice. */
static void forget_write(struct vdmabuf_buffer *buffer, const struct vdmabuf_write *range)
{
	struct vdmabuf_write *write, *rest;

	list_for_each_entry(write, &buffer->writes, node)
		if (write->first <= range->first && range->last <= write->last)
			break;
	if (WARN_ON_ONCE(list_entry_is_head(write, &buffer->writes, node)))
		return;
	if (write->first < range->first && range->last < write->last) {
		/* Small, and there is nobody to tell. */
		rest = kmemdup(write, sizeof(*write), GFP_KERNEL | __GFP_NOFAIL);
		rest->first = range->last + 1;
		list_add(&rest->node, &write->node);
		write->last = range->first - 1;
	} else if (write->first < range->first) {
		write->last = range->first - 1;
	} else if (range->last < write->last) {
		write->first = range->last + 1;
	} else {
		list_del(&write->node);
		kfree(write);
	}
}

/**
 * vdmabuf_end_range - let devices see what the CPU has written to some bytes
 * @dmabuf: buffer
 * @first: first byte
 * @last: last byte, perhaps beyond the end
 * @direction: DMA_FROM_DEVICE if the CPU has only read
 */
void vdmabuf_end_range(struct dma_buf *dmabuf, loff_t first, loff_t last,
		       enum dma_data_direction direction)
{
	struct vdmabuf_buffer *buffer = dmabuf->priv;
	struct vdmabuf_write range;

	if (!clamp_range(buffer, first, last, &range))
		return;
	mutex_lock(&buffer->lock);
	if (direction == DMA_FROM_DEVICE) {
		nothing_for_device(buffer);
	} else {
		bytes_for_device(buffer, range.first, range.last);
		forget_write(buffer, &range);
	}
	mutex_unlock(&buffer->lock);
}

static struct vdmabuf_mapping *find_mapping(struct vdmabuf_buffer *buffer,
					    const struct dma_buf_attachment *attachment)
{
	struct vdmabuf_mapping *mapping;

	list_for_each_entry(mapping, &buffer->mappings, node)
		if (mapping->attachment == attachment)
			return mapping;
	return NULL;
}

/**
 * vdmabuf_start_dma - a device is about to use its mapping
 * @attachment: whose; what is not mapped yet needs nothing
 * @direction: what it is going to do
 *
 * Returns: 0 or -EINTR.
 */
int vdmabuf_start_dma(struct dma_buf_attachment *attachment, enum dma_data_direction direction)
{
	struct vdmabuf_buffer *buffer = attachment->dmabuf->priv;
	struct vdmabuf_mapping *mapping;
	int err;

	err = mutex_lock_killable(&buffer->lock);
	if (err)
		return err;
	mapping = find_mapping(buffer, attachment);
	if (mapping) {
		if (mapping->stale)
			push(mapping, 0, vdmabuf_size(buffer) - 1);
		mapping->announced = true;
		mapping->stale = false;
		mapping->writing = direction != DMA_TO_DEVICE && mapping->dir != DMA_TO_DEVICE;
	}
	mutex_unlock(&buffer->lock);
	return 0;
}

/**
 * vdmabuf_end_dma - a device has used its mapping
 * @attachment: whose
 */
void vdmabuf_end_dma(struct dma_buf_attachment *attachment)
{
	struct vdmabuf_buffer *buffer = attachment->dmabuf->priv;
	struct vdmabuf_mapping *mapping;

	mutex_lock(&buffer->lock);
	mapping = find_mapping(buffer, attachment);
	if (mapping && mapping->writing) {
		vdmabuf_pull(buffer, mapping);
		vdmabuf_refresh(buffer, attachment->dmabuf->resv);
		mapping->stale = false;
		mapping->writing = false;
	}
	mutex_unlock(&buffer->lock);
}
