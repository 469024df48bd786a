// SPDX-License-Identifier: GPL-2.0-only
/*
 * vdmabuf: the memory as devices see it.
 */
#include <linux/dma-mapping.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#include "buffer.h"

/**
 * DOC: who can use the memory
 *
 * A device is asked what it can take when it is attached, and the memory is
 * chosen when somebody uses it for the first time. Devices that are attached by
 * then are served without bouncing, if there is memory like that at all; one
 * that comes later has to make do with what there is.
 */

static size_t max_segment(struct device *dev)
{
	size_t max = min_t(size_t, dma_max_mapping_size(dev), dma_get_max_seg_size(dev));

	return ALIGN_DOWN(max, PAGE_SIZE);
}

/* Will the DMA API make a copy of what the device cannot reach? */
static bool can_bounce(const struct vdmabuf_buffer *buffer, struct device *dev)
{
	return !(buffer->flags & VDMABUF_ALLOC_COHERENT) && dma_max_mapping_size(dev) != SIZE_MAX;
}

static bool out_of_reach(const struct vdmabuf_buffer *buffer, struct device *dev)
{
	u64 dma_mask = dma_get_mask(dev);
	unsigned long i;

	if (!buffer->backed || vdmabuf_translated(dev) || can_bounce(buffer, dev))
		return false;
	for (i = 0; i < buffer->page_count; i++)
		if (page_to_phys(buffer->pages[i]) + PAGE_SIZE - 1 > dma_mask)
			return true;
	return false;
}

/*
 * Errors: ENODEV a device without DMA; EINVAL one that cannot take a page at once;
 * ENXIO the memory is there already, out of its reach and cannot be bounced; EINTR.
 */
int vdmabuf_attach(struct dma_buf *dmabuf, struct dma_buf_attachment *attachment)
{
	struct vdmabuf_buffer *buffer = dmabuf->priv;
	struct device *dev = attachment->dev;
	int err;

	if (!dev->dma_mask || !*dev->dma_mask)
		return -ENODEV;
	if (!max_segment(dev) || dma_get_seg_boundary(dev) < PAGE_SIZE - 1)
		return -EINVAL;
	err = mutex_lock_interruptible(&buffer->lock);
	if (err)
		return err;
	if (out_of_reach(buffer, dev))
		err = -ENXIO;
	else
		buffer->dma_mask = min(buffer->dma_mask, dma_get_mask(dev));
	mutex_unlock(&buffer->lock);
	return err;
}

/* How many pages from @first on are one segment for a device? */
static unsigned long segment_pages(const struct vdmabuf_buffer *buffer, unsigned long first,
				   struct device *dev)
{
	unsigned long max = max_segment(dev) >> PAGE_SHIFT;
	phys_addr_t start = page_to_phys(buffer->pages[first]);
	u64 boundary = dma_get_seg_boundary(dev);
	unsigned long n = 1;

	while (n < max && first + n < buffer->page_count) {
		phys_addr_t next = page_to_phys(buffer->pages[first + n]);

		if (next != start + (n << PAGE_SHIFT) || (next & ~boundary) != (start & ~boundary))
			break;
		n++;
	}
	return n;
}

static int make_table(const struct vdmabuf_buffer *buffer, struct sg_table *sgt,
		      struct device *dev)
{
	unsigned long first, n;
	unsigned int count = 0;
	struct scatterlist *sg;
	int err;

	for (first = 0; first < buffer->page_count; first += n) {
		n = segment_pages(buffer, first, dev);
		count++;
	}
	err = sg_alloc_table(sgt, count, GFP_KERNEL);
	if (err)
		return err;
	for (first = 0, sg = sgt->sgl; sg; first += n, sg = sg_next(sg)) {
		n = segment_pages(buffer, first, dev);
		sg_set_page(sg, buffer->pages[first], n << PAGE_SHIFT, 0);
	}
	return 0;
}

/* Under the lock, so that a CPU access that ends finds it or ends before it. */
static int add_mapping(struct vdmabuf_buffer *buffer, struct vdmabuf_mapping *mapping)
{
	int err;

	/* Memory for its mask was not to be had. */
	if (out_of_reach(buffer, mapping->dev))
		return -ENXIO;
	err = make_table(buffer, &mapping->sgt, mapping->dev);
	if (err)
		return err;
	if (buffer->flags & VDMABUF_ALLOC_COHERENT)
		err = vdmabuf_coherent_map(mapping);
	else
		err = dma_map_sgtable(mapping->dev, &mapping->sgt, mapping->dir, 0);
	if (err) {
		sg_free_table(&mapping->sgt);
		return err;
	}
	if (!(buffer->flags & VDMABUF_ALLOC_COHERENT))
		list_add_tail(&mapping->node, &buffer->mappings);
	vdmabuf_count(VDMABUF_COUNT_MAPPINGS, 1);
	return 0;
}

/*
 * Errors: ENOMEM, also when the memory cgroup of who made the buffer is full;
 * EINTR a signal came while memory was looked for; ENXIO memory that the device
 * cannot reach; what the DMA API says, as EIO when there is no room to bounce it.
 */
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
	INIT_LIST_HEAD(&mapping->node);
	mapping->attachment = attachment;
	mapping->dev = attachment->dev;
	mapping->dir = direction == DMA_TO_DEVICE ? DMA_TO_DEVICE : DMA_BIDIRECTIONAL;
	err = mutex_lock_interruptible(&buffer->lock);
	if (err)
		goto free_mapping;
	err = vdmabuf_buffer_back(buffer, true);
	if (!err)
		err = add_mapping(buffer, mapping);
	mutex_unlock(&buffer->lock);
	if (err)
		goto free_mapping;
	return &mapping->sgt;

free_mapping:
	kfree(mapping);
	return ERR_PTR(err);
}

void vdmabuf_unmap(struct dma_buf_attachment *attachment, struct sg_table *sgt,
		   enum dma_data_direction direction)
{
	struct vdmabuf_mapping *mapping = container_of(sgt, struct vdmabuf_mapping, sgt);
	struct vdmabuf_buffer *buffer = attachment->dmabuf->priv;
	bool newer;

	dma_buf_assert_held(attachment->dmabuf);
	mutex_lock(&buffer->lock);
	newer = !list_empty(&mapping->node) && mapping->dir == DMA_BIDIRECTIONAL &&
		!mapping->cpu_newer && !mapping->announced;
	if (newer)
		vdmabuf_pull(buffer, mapping);
	if (!mapping->direct)
		dma_unmap_sgtable(mapping->dev, sgt, mapping->dir, DMA_ATTR_SKIP_CPU_SYNC);
	/* Not before the bytes are back: begin_cpu_access looks at the list without the lock. */
	list_del(&mapping->node);
	if (newer)
		vdmabuf_refresh(buffer, attachment->dmabuf->resv);
	mutex_unlock(&buffer->lock);

	vdmabuf_count(VDMABUF_COUNT_MAPPINGS, -1);
	sg_free_table(sgt);
	kfree(mapping);
}
