// SPDX-License-Identifier: GPL-2.0-only
/*
 * vblit: the backend that plays the hardware with the CPU.
 */
#include <linux/dma-direct.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/scatterlist.h>
#include <linux/sizes.h>

#include "vblit.h"

/**
 * DOC: hardware in software
 *
 * Hardware knows nothing but DMA addresses, and so does this backend: it touches
 * the memory that an address leads to. With swiotlb=force that is the bounce
 * buffer, exactly as for a device that cannot reach the pages.
 */

/* Addresses have to lead to memory. */
static int soft_check(struct device *dev, struct sg_table *sgt)
{
	struct scatterlist *sg;
	unsigned int i;

	for_each_sgtable_dma_sg(sgt, sg, i) {
		phys_addr_t first = dma_to_phys(dev, sg_dma_address(sg));

		if (!sg_dma_len(sg))
			continue;
		if (!pfn_valid(PHYS_PFN(first)) ||
		    !pfn_valid(PHYS_PFN(first + sg_dma_len(sg) - 1)))
			return -EFAULT;
	}
	return 0;
}

/* Maps the page that a byte is in; @length shrinks to what is in that page. */
static void *map(struct vblit_engine *engine, struct vblit_cursor *cursor, u64 offset,
		 size_t *length)
{
	phys_addr_t phys = dma_to_phys(engine->vdev->dev,
				       vblit_cursor_seek(cursor, offset, length));

	*length = min_t(size_t, *length, PAGE_SIZE - offset_in_page(phys));
	return kmap_local_page(pfn_to_page(PHYS_PFN(phys))) + offset_in_page(phys);
}

static int soft_copy(struct vblit_engine *engine, struct vblit_cursor *dst, u64 to,
		     struct vblit_cursor *src, u64 from, size_t length)
{
	while (length) {
		size_t part = length;
		void *source = map(engine, src, from, &part);
		void *target = map(engine, dst, to, &part);

		memcpy(target, source, part);
		kunmap_local(target);
		kunmap_local(source);
		to += part;
		from += part;
		length -= part;
	}
	return 0;
}

static int soft_read(struct vblit_engine *engine, struct vblit_cursor *src, u64 from, size_t at,
		     size_t length)
{
	while (length) {
		size_t part = length;
		void *source = map(engine, src, from, &part);

		memcpy(engine->scratch + at, source, part);
		kunmap_local(source);
		from += part;
		at += part;
		length -= part;
	}
	return 0;
}

static int soft_write(struct vblit_engine *engine, struct vblit_cursor *dst, u64 to, size_t at,
		      size_t length)
{
	while (length) {
		size_t part = length;
		void *target = map(engine, dst, to, &part);

		memcpy(target, engine->scratch + at, part);
		kunmap_local(target);
		to += part;
		at += part;
		length -= part;
	}
	return 0;
}

const struct vblit_backend vblit_soft = {
	.name = "vblit",
	.chunk = SZ_64K,
	.pieces = 100,
	.check = soft_check,
	.copy = soft_copy,
	.read = soft_read,
	.write = soft_write,
};
