// SPDX-License-Identifier: GPL-2.0-only
/*
 * vblit: can an exporter keep what the device sees and what the CPU sees in step?
 */
#include <linux/dma-mapping.h>
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
