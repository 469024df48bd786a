// SPDX-License-Identifier: GPL-2.0-only
/*
 * vdmabuf: the memory as devices see it, and who sees whose bytes when.
 */
#include <linux/dma-fence.h>
#include <linux/dma-mapping.h>
#include <linux/dma-resv.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/scatterlist.h>
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
 * - unmap: device to memory.
 *
 * What follows from that for an importer:
 *
 * - It may map and unmap whenever it likes as long as its device does not use
 *   the memory, also while the CPU writes. Between begin and end of a CPU
 *   write the device's bytes count for nothing (cpu_newer): unmapping then does
 *   not put them over what the CPU wrote.
 * - DMA happens between map and unmap and not during a CPU access. Its fence,
 *   if it has one, is waited for by begin_cpu_access before bytes move;
 *   the dma-buf core waits only afterwards.
 * - A device that writes is the only one to use the memory meanwhile. Should
 *   two devices take turns with both mappings in place, each importer has to
 *   call dma_sync_sgtable_for_device() before and dma_sync_sgtable_for_cpu()
 *   after its DMA: no exporter can know which of two copies is the newer.
 *   One that unmaps after its turn need not: if no fence is pending the others
 *   are brought up to date.
 * - Asking for DMA_FROM_DEVICE is answered with a bidirectional mapping.
 *   Otherwise a bounced device that writes a part of the buffer would overwrite
 *   the rest with old bytes, and so would the next begin_cpu_access if the
 *   device had written nothing at all.
 */

/**
 * struct vdmabuf_mapping - one mapping of one device
 * @sgt: what the importer got
 * @node: in vdmabuf_buffer.mappings
 * @dev: device
 * @dir: direction it is mapped in, never DMA_FROM_DEVICE
 * @cpu_newer: the CPU may have written since the device's bytes were current
 */
struct vdmabuf_mapping {
	struct sg_table sgt;
	struct list_head node;
	struct device *dev;
	enum dma_data_direction dir;
	bool cpu_newer;
};

static size_t max_segment(struct device *dev)
{
	size_t max = min_t(size_t, dma_max_mapping_size(dev), dma_get_max_seg_size(dev));

	return ALIGN_DOWN(max, PAGE_SIZE);
}

/* Errors: ENODEV a device without DMA; EINVAL one that cannot take a page at once. */
int vdmabuf_attach(struct dma_buf *dmabuf, struct dma_buf_attachment *attachment)
{
	if (!attachment->dev->dma_mask)
		return -ENODEV;
	return max_segment(attachment->dev) ? 0 : -EINVAL;
}

static void sync_for_cpu(struct vdmabuf_buffer *buffer, struct vdmabuf_mapping *mapping)
{
	dma_sync_sgtable_for_cpu(mapping->dev, &mapping->sgt, mapping->dir);
	vdmabuf_count(VDMABUF_COUNT_FOR_CPU, 1);
	vdmabuf_count(VDMABUF_COUNT_SYNCED_BYTES, vdmabuf_size(buffer));
}

static void sync_for_device(struct vdmabuf_buffer *buffer, struct vdmabuf_mapping *mapping)
{
	dma_sync_sgtable_for_device(mapping->dev, &mapping->sgt, mapping->dir);
	vdmabuf_count(VDMABUF_COUNT_FOR_DEVICE, 1);
	vdmabuf_count(VDMABUF_COUNT_SYNCED_BYTES, vdmabuf_size(buffer));
}

/* Under the lock, so that a CPU access that ends finds it or ends before it. */
static int add_mapping(struct vdmabuf_buffer *buffer, struct vdmabuf_mapping *mapping)
{
	int err;

	mutex_lock(&buffer->lock);
	err = dma_map_sgtable(mapping->dev, &mapping->sgt, mapping->dir, 0);
	if (!err) {
		list_add_tail(&mapping->node, &buffer->mappings);
		vdmabuf_count(VDMABUF_COUNT_MAPPINGS, 1);
	}
	mutex_unlock(&buffer->lock);
	return err;
}

/* Errors: ENOMEM; what the DMA API says, as EIO when the device cannot reach it. */
struct sg_table *vdmabuf_map(struct dma_buf_attachment *attachment,
			     enum dma_data_direction direction)
{
	struct vdmabuf_buffer *buffer = attachment->dmabuf->priv;
	struct vdmabuf_mapping *mapping;
	int err;

	dma_buf_assert_held(attachment->dmabuf);
	mapping = kzalloc(sizeof(*mapping), GFP_KERNEL);
	if (!mapping)
		return ERR_PTR(-ENOMEM);
	mapping->dev = attachment->dev;
	mapping->dir = direction == DMA_TO_DEVICE ? DMA_TO_DEVICE : DMA_BIDIRECTIONAL;
	err = sg_alloc_table_from_pages_segment(&mapping->sgt, buffer->pages, buffer->page_count,
						0, vdmabuf_size(buffer),
						max_segment(mapping->dev), GFP_KERNEL);
	if (err)
		goto free_mapping;
	err = add_mapping(buffer, mapping);
	if (err)
		goto free_table;
	return &mapping->sgt;

free_table:
	sg_free_table(&mapping->sgt);
free_mapping:
	kfree(mapping);
	return ERR_PTR(err);
}

/* A device has brought its bytes back: those that rest see them as well. */
static void refresh_others(struct vdmabuf_buffer *buffer, struct dma_resv *resv)
{
	struct vdmabuf_mapping *other;

	if (list_empty(&buffer->mappings) ||
	    !dma_resv_test_signaled(resv, DMA_RESV_USAGE_READ))
		return;
	list_for_each_entry(other, &buffer->mappings, node)
		if (!other->cpu_newer)
			sync_for_device(buffer, other);
}

void vdmabuf_unmap(struct dma_buf_attachment *attachment, struct sg_table *sgt,
		   enum dma_data_direction direction)
{
	struct vdmabuf_mapping *mapping = container_of(sgt, struct vdmabuf_mapping, sgt);
	struct vdmabuf_buffer *buffer = attachment->dmabuf->priv;
	bool skip;

	dma_buf_assert_held(attachment->dmabuf);
	mutex_lock(&buffer->lock);
	skip = mapping->cpu_newer;
	dma_unmap_sgtable(mapping->dev, sgt, mapping->dir, skip ? DMA_ATTR_SKIP_CPU_SYNC : 0);
	/* Not before the bytes are back: begin_cpu_access looks at the list without the lock. */
	list_del(&mapping->node);
	if (!skip && mapping->dir == DMA_BIDIRECTIONAL)
		refresh_others(buffer, attachment->dmabuf->resv);
	mutex_unlock(&buffer->lock);

	vdmabuf_count(VDMABUF_COUNT_MAPPINGS, -1);
	sg_free_table(sgt);
	kfree(mapping);
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
	if (buffer->vaddr)
		invalidate_kernel_vmap_range(buffer->vaddr, vdmabuf_size(buffer));
	list_for_each_entry(mapping, &buffer->mappings, node) {
		if (mapping->cpu_newer)
			vdmabuf_count(VDMABUF_COUNT_FOR_CPU_SKIPPED, 1);
		else
			sync_for_cpu(buffer, mapping);
		mapping->cpu_newer |= write;
	}
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
	bool wrote = direction != DMA_FROM_DEVICE;
	struct vdmabuf_mapping *mapping;

	mutex_lock(&buffer->lock);
	if (wrote && buffer->vaddr)
		flush_kernel_vmap_range(buffer->vaddr, vdmabuf_size(buffer));
	list_for_each_entry(mapping, &buffer->mappings, node) {
		if (!wrote) {
			vdmabuf_count(VDMABUF_COUNT_FOR_DEVICE_SKIPPED, 1);
			continue;
		}
		sync_for_device(buffer, mapping);
		mapping->cpu_newer = false;
	}
	mutex_unlock(&buffer->lock);
	return 0;
}
