// SPDX-License-Identifier: GPL-2.0-only
/*
 * vdmabuf: the memory as devices see it.
 */
#include <linux/dma-mapping.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#include "buffer.h"

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
	mapping->attachment = attachment;
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

void vdmabuf_unmap(struct dma_buf_attachment *attachment, struct sg_table *sgt,
		   enum dma_data_direction direction)
{
	struct vdmabuf_mapping *mapping = container_of(sgt, struct vdmabuf_mapping, sgt);
	struct vdmabuf_buffer *buffer = attachment->dmabuf->priv;
	bool newer;

	dma_buf_assert_held(attachment->dmabuf);
	mutex_lock(&buffer->lock);
	newer = mapping->dir == DMA_BIDIRECTIONAL && !mapping->cpu_newer && !mapping->announced;
	if (newer)
		vdmabuf_pull(buffer, mapping);
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
