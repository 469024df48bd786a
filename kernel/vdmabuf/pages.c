// SPDX-License-Identifier: GPL-2.0-only
/*
 * vdmabuf: fresh pages.
 */
#include <linux/gfp.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>

#include "buffer.h"

/*
 * Charged to the caller's memory cgroup, which may refuse: a buffer that is too
 * large for the caller gets ENOMEM and nobody is killed for it.
 */
#define PAGE_GFP (GFP_KERNEL_ACCOUNT | __GFP_HIGHMEM | __GFP_ZERO | \
		  __GFP_RETRY_MAYFAIL | __GFP_NOWARN)
/* Long segments are a gift, not worth any work. */
#define CHUNK_GFP ((PAGE_GFP & ~(__GFP_RECLAIM | __GFP_RETRY_MAYFAIL)) | __GFP_NORETRY)
#define CHUNK_ORDER 9

/*
 * Up to @room pages in a row, each with a reference of its own. @order is
 * where to start, and is lowered where memory is too fragmented for it.
 */
static struct page *alloc_chunk(unsigned long room, unsigned int *order)
{
	struct page *page;

	*order = min_t(unsigned int, *order, ilog2(room));
	for (; *order; --*order) {
		page = alloc_pages(CHUNK_GFP, *order);
		if (page) {
			split_page(page, *order);
			return page;
		}
	}
	return alloc_page(PAGE_GFP);
}

static void free_pages_upto(struct vdmabuf_buffer *buffer, unsigned long count)
{
	while (count)
		__free_page(buffer->pages[--count]);
}

/**
 * vdmabuf_pages_alloc - fill a buffer with fresh, zeroed pages
 * @buffer: has none yet
 *
 * Returns: 0, -ENOMEM, or -EINTR when the caller is being killed; there are no
 * pages then.
 */
int vdmabuf_pages_alloc(struct vdmabuf_buffer *buffer)
{
	unsigned int order = CHUNK_ORDER;
	unsigned long count = 0, i;
	int err;

	while (count < buffer->page_count) {
		struct page *chunk;

		if (fatal_signal_pending(current)) {
			err = -EINTR;
			goto free;
		}
		chunk = alloc_chunk(buffer->page_count - count, &order);
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
