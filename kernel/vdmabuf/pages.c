// SPDX-License-Identifier: GPL-2.0-only
/*
 * vdmabuf: fresh pages.
 */
#include <linux/dma-mapping.h>
#include <linux/gfp.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>

#include "buffer.h"

/**
 * DOC: pages that devices can reach
 *
 * The zone is chosen by the narrowest DMA mask. There is none for every mask,
 * and the lowest is small: pages that are still out of reach are taken all the
 * same, and the DMA API bounces them for the devices that need it.
 *
 * They come in pieces of up to 2 MiB. For a device these are long segments, and a
 * process maps a piece at once (cpu_map.c).
 */

/*
 * A memory cgroup may refuse: a buffer that is too large for it gets ENOMEM and
 * nobody is killed for it.
 */
#define PAGE_GFP (GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_RETRY_MAYFAIL | __GFP_NOWARN)
/* Long segments are a gift, not worth any work. */
#define CHUNK_GFP ((PAGE_GFP & ~(__GFP_RECLAIM | __GFP_RETRY_MAYFAIL)) | __GFP_NORETRY)
#define CHUNK_ORDER 9

static gfp_t zone_for(u64 dma_mask)
{
	if (dma_mask >= DMA_BIT_MASK(64))
		return __GFP_HIGHMEM;
	if (dma_mask >= DMA_BIT_MASK(32))
		return IS_ENABLED(CONFIG_ZONE_DMA32) ? GFP_DMA32 : 0;
	return IS_ENABLED(CONFIG_ZONE_DMA) ? GFP_DMA : GFP_DMA32;
}

/*
 * Up to @room pages in a row, each with a reference of its own. @order is
 * where to start, and is lowered where memory is too fragmented for it.
 */
static struct page *alloc_chunk(unsigned long room, unsigned int *order, gfp_t zone)
{
	struct page *page;

	*order = min_t(unsigned int, *order, ilog2(room));
	for (; *order; --*order) {
		page = alloc_pages(CHUNK_GFP | zone, *order);
		if (page) {
			split_page(page, *order);
			return page;
		}
	}
	/* Not worth emptying a small zone either. */
	page = zone & __GFP_HIGHMEM ? NULL : alloc_page(CHUNK_GFP | zone);
	return page ?: alloc_page(PAGE_GFP | __GFP_HIGHMEM);
}

static void free_pages_upto(struct vdmabuf_buffer *buffer, unsigned long count)
{
	while (count)
		__free_page(buffer->pages[--count]);
}

/**
 * vdmabuf_pages_alloc - fill a buffer with fresh, zeroed pages
 * @buffer: has none yet, locked
 * @interruptible: by any signal, else by a fatal one only
 *
 * Returns: 0, -ENOMEM or -EINTR; there are no pages then.
 */
int vdmabuf_pages_alloc(struct vdmabuf_buffer *buffer, bool interruptible)
{
	gfp_t zone = zone_for(buffer->dma_mask);
	unsigned int order = CHUNK_ORDER;
	unsigned long count = 0, i;
	int err;

	while (count < buffer->page_count) {
		struct page *chunk;

		if (interruptible ? signal_pending(current) : fatal_signal_pending(current)) {
			err = -EINTR;
			goto free;
		}
		chunk = alloc_chunk(buffer->page_count - count, &order, zone);
		if (!chunk) {
			err = -ENOMEM;
			goto free;
		}
		for (i = 0; i < 1UL << order; i++)
			buffer->pages[count++] = chunk + i;
		cond_resched();
	}
	return 0;

free:
	free_pages_upto(buffer, count);
	return err;
}

void vdmabuf_pages_free(struct vdmabuf_buffer *buffer)
{
	free_pages_upto(buffer, buffer->page_count);
}
