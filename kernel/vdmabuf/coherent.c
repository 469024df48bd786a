// SPDX-License-Identifier: GPL-2.0-only
/*
 * vdmabuf: memory that needs no cache maintenance.
 */
#include <linux/dma-direct.h>
#include <linux/dma-map-ops.h>
#include <linux/dma-mapping.h>
#include <linux/err.h>
#include <linux/iommu.h>
#include <linux/mm.h>
#include <linux/platform_device.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include "buffer.h"

/**
 * DOC: coherent buffers
 *
 * The CPU and every device use the same bytes at the same time: there is
 * nothing to copy and no cache in between. Where the DMA of the machine is not
 * coherent the CPU pays for it with uncached accesses. Nothing is begun and
 * nothing ended, so it costs the same whoever has the buffer next.
 *
 * The memory comes from the DMA API for a device of our own, which has the
 * narrowest mask of those that are attached. A device behind an IOMMU gets a
 * mapping; another one uses the addresses as they are, since the DMA API would
 * bounce, that is, make a copy. If these are out of its reach, it is refused.
 */

/**
 * struct chunk - one allocation
 * @node: in vdmabuf_buffer.chunks
 * @vaddr: for the CPU
 * @addr: for our own device
 * @size: bytes
 */
struct chunk {
	struct list_head node;
	void *vaddr;
	dma_addr_t addr;
	size_t size;
};

#define MAX_CHUNK SZ_1M
/*
 * A full memory cgroup means ENOMEM and nobody is killed for it. What the DMA API takes from
 * memory set apart at boot (CMA) it charges to nobody; there, the limit per user holds alone.
 */
#define CHUNK_GFP (GFP_KERNEL_ACCOUNT | __GFP_RETRY_MAYFAIL | __GFP_NOWARN)
/* What every device can take that is not attached yet. */
#define DEFAULT_MASK DMA_BIT_MASK(32)

static struct platform_device *own;
static DEFINE_MUTEX(own_mask_lock);	/* the mask of @own, while it is of use */

int vdmabuf_coherent_init(void)
{
	int err;

	own = platform_device_register_simple("vdmabuf", PLATFORM_DEVID_NONE, NULL, 0);
	if (IS_ERR(own))
		return PTR_ERR(own);
	err = dma_coerce_mask_and_coherent(&own->dev, DEFAULT_MASK);
	if (err)
		platform_device_unregister(own);
	return err;
}

void vdmabuf_coherent_exit(void)
{
	platform_device_unregister(own);
}

/* Up to @room bytes that @dma_mask reaches. */
static struct chunk *alloc_within(u64 dma_mask, size_t room)
{
	struct chunk *chunk;

	chunk = kmalloc(sizeof(*chunk), CHUNK_GFP);
	if (!chunk)
		return NULL;
	mutex_lock(&own_mask_lock);
	own->dev.coherent_dma_mask = min(dma_mask, DEFAULT_MASK);
	for (chunk->size = min_t(size_t, room, MAX_CHUNK); chunk->size; chunk->size /= 2) {
		chunk->size = PAGE_ALIGN(chunk->size);
		chunk->vaddr = dma_alloc_coherent(&own->dev, chunk->size, &chunk->addr,
						  CHUNK_GFP);
		if (chunk->vaddr || chunk->size == PAGE_SIZE)
			break;
	}
	mutex_unlock(&own_mask_lock);
	if (!chunk->vaddr) {
		kfree(chunk);
		return NULL;
	}
	return chunk;
}

/* If not even that is to be had, devices that do not reach it are refused when they map it. */
static struct chunk *alloc_chunk(const struct vdmabuf_buffer *buffer, size_t room)
{
	return alloc_within(buffer->dma_mask, room) ?: alloc_within(DEFAULT_MASK, room);
}

/* The pages behind a chunk, whatever the DMA API did to find them. */
static int collect_pages(struct vdmabuf_buffer *buffer, struct chunk *chunk,
			 unsigned long *count)
{
	struct sg_page_iter iter;
	struct sg_table sgt;
	int err;

	err = dma_get_sgtable(&own->dev, &sgt, chunk->vaddr, chunk->addr, chunk->size);
	if (err)
		return err;
	for_each_sgtable_page(&sgt, &iter, 0)
		buffer->pages[(*count)++] = sg_page_iter_page(&iter);
	sg_free_table(&sgt);
	return 0;
}

/**
 * vdmabuf_coherent_alloc - fill a buffer with coherent memory
 * @buffer: has none yet, locked
 * @interruptible: by any signal, else by a fatal one only
 *
 * Returns: 0, -ENOMEM or -EINTR; there is none then.
 */
int vdmabuf_coherent_alloc(struct vdmabuf_buffer *buffer, bool interruptible)
{
	unsigned long count = 0;
	int err;

	while (count < buffer->page_count) {
		struct chunk *chunk;

		err = -EINTR;
		if (interruptible ? signal_pending(current) : fatal_signal_pending(current))
			goto free;
		err = -ENOMEM;
		chunk = alloc_chunk(buffer, (buffer->page_count - count) << PAGE_SHIFT);
		if (!chunk)
			goto free;
		list_add_tail(&chunk->node, &buffer->chunks);
		err = collect_pages(buffer, chunk, &count);
		if (err)
			goto free;
	}
	return 0;

free:
	vdmabuf_coherent_free(buffer);
	return err;
}

void vdmabuf_coherent_free(struct vdmabuf_buffer *buffer)
{
	struct chunk *chunk, *next;

	list_for_each_entry_safe(chunk, next, &buffer->chunks, node) {
		list_del(&chunk->node);
		dma_free_coherent(&own->dev, chunk->size, chunk->vaddr, chunk->addr);
		kfree(chunk);
	}
}

/**
 * vdmabuf_coherent_prot - how the CPU has to map a buffer
 * @buffer: any buffer
 * @prot: as it would be mapped
 *
 * Returns: @prot, uncached if that is what it takes.
 */
pgprot_t vdmabuf_coherent_prot(const struct vdmabuf_buffer *buffer, pgprot_t prot)
{
	if (!(buffer->flags & VDMABUF_ALLOC_COHERENT) || dev_is_dma_coherent(&own->dev))
		return prot;
	return pgprot_dmacoherent(prot);
}

/**
 * vdmabuf_translated - is there an IOMMU between a device and the memory?
 * @dev: device
 *
 * Returns: true if its addresses are not those of the memory.
 */
bool vdmabuf_translated(struct device *dev)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(dev);

	return domain && domain->type != IOMMU_DOMAIN_IDENTITY;
}

/* dma_capable() needs what the newest kernels keep from modules. */
static bool reaches(struct device *dev, dma_addr_t addr, size_t size)
{
	return addr + size - 1 <= min_not_zero(dma_get_mask(dev), dev->bus_dma_limit);
}

/**
 * vdmabuf_coherent_map - give a device the addresses of a coherent buffer
 * @mapping: with its segments, not mapped
 *
 * Returns: 0; -ENXIO out of the device's reach; what the DMA API says.
 */
int vdmabuf_coherent_map(struct vdmabuf_mapping *mapping)
{
	struct sg_table *sgt = &mapping->sgt;
	struct scatterlist *sg;
	unsigned int i;

	if (vdmabuf_translated(mapping->dev))
		return dma_map_sgtable(mapping->dev, sgt, mapping->dir, DMA_ATTR_SKIP_CPU_SYNC);
	mapping->direct = true;
	for_each_sgtable_sg(sgt, sg, i) {
		sg_dma_address(sg) = phys_to_dma(mapping->dev, sg_phys(sg));
		sg_dma_len(sg) = sg->length;
		if (!reaches(mapping->dev, sg_dma_address(sg), sg->length))
			return -ENXIO;
	}
	sgt->nents = sgt->orig_nents;
	return 0;
}
