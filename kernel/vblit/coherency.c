// SPDX-License-Identifier: GPL-2.0-only
/*
 * vblit: who keeps what the device sees and what others see in step?
 */
#include <linux/dma-mapping.h>
#include <linux/gfp.h>
#include <linux/scatterlist.h>
#include <linux/string.h>

#include "vblit.h"

/**
 * DOC: exporters that never synchronise
 *
 * Where DMA is not coherent, or is bounced, somebody has to move bytes or clean
 * caches whenever a buffer passes between CPU and device. A dma-buf leaves that to
 * its exporter, in begin and end_cpu_access and in map and unmap. Some map with
 * DMA_ATTR_SKIP_CPU_SYNC or keep the mapping, and have no such calls, or none that
 * care for other people's mappings: they are right on coherent machines only. The
 * engine cannot make up for it, since the DMA API tells nothing about a mapping
 * of somebody else; it says so.
 */

/**
 * vblit_has_own_view - does the device see memory through a copy or caches of its own?
 * @dev: device
 *
 * Returns: true if it does, or if that depends on where the memory is.
 */
bool vblit_has_own_view(struct device *dev)
{
	bool own_view = true;
	struct page *page;
	dma_addr_t addr;

	if (dma_get_mask(dev) < dma_get_required_mask(dev))
		return true;
	page = alloc_page(GFP_KERNEL);
	if (!page)
		return true;
	addr = dma_map_page(dev, page, 0, PAGE_SIZE, DMA_BIDIRECTIONAL);
	if (!dma_mapping_error(dev, addr)) {
		own_view = dma_need_sync(dev, addr);
		dma_unmap_page(dev, addr, PAGE_SIZE, DMA_BIDIRECTIONAL);
	}
	__free_page(page);
	return own_view;
}

static bool needs_sync(struct device *dev, struct sg_table *sgt)
{
	struct scatterlist *sg;
	unsigned int i;

	for_each_sgtable_dma_sg(sgt, sg, i)
		if (sg_dma_len(sg) && dma_need_sync(dev, sg_dma_address(sg)))
			return true;
	return false;
}

static bool never_syncs(const struct dma_buf *dmabuf)
{
	if (!dmabuf->ops->begin_cpu_access || !dmabuf->ops->end_cpu_access)
		return true;
	/* It has them, for a mapping of its own. */
	return dmabuf->exp_name && !strcmp(dmabuf->exp_name, "udmabuf");
}

/**
 * vblit_check_coherency - complain about an exporter that never synchronises
 * @dev: engine
 * @dmabuf: buffer
 * @sgt: its mapping
 */
void vblit_check_coherency(struct device *dev, const struct dma_buf *dmabuf,
			   struct sg_table *sgt)
{
	if (never_syncs(dmabuf) && needs_sync(dev, sgt))
		dev_warn_ratelimited(dev,
				     "%s never synchronises: CPU and device may see different bytes\n",
				     dmabuf->exp_name ?: "an exporter");
}
