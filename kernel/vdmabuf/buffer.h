/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vdmabuf: what its files share.
 */
#ifndef VDMABUF_BUFFER_H
#define VDMABUF_BUFFER_H

#include <linux/dma-buf.h>
#include <linux/list.h>
#include <linux/mm_types.h>
#include <linux/mutex.h>
#include <linux/scatterlist.h>
#include <linux/types.h>

#include <linux/dmabuf-sync.h>
#include <uapi/linux/vdmabuf.h>
#include "../compat.h"

struct mem_cgroup;
struct user_count;

/**
 * struct vdmabuf_buffer - the memory behind one dma-buf
 * @flags: VDMABUF_ALLOC_*
 * @page_count: length of @pages
 * @folios: of a memfd, what has to be unpinned in the end; else NULL
 * @folio_count: number of @folios
 * @user: who made it
 * @memcg: reference; whom fresh pages are charged to
 * @may_access: of a strict buffer: dmabuf_sync_cpu_may_access(), referenced by symbol
 * @zap_lock: of a strict buffer: whoever puts a page into a process has it from the
 *	question whether it may to the moment it has; inside the mmap lock, outside of
 *	all that the question takes
 * @lock: protects what follows; taken inside the lock of the dma_resv and the mmap
 *	lock, never outside of them
 * @pages: all of it, in order; does not change once it is @backed
 * @backed: there are pages
 * @chunks: of a coherent buffer: where they come from
 * @dma_mask: addresses that all devices which were attached so far can reach
 * @mappings: struct vdmabuf_mapping of devices that need cache maintenance, the oldest
 *	first
 * @writes: struct vdmabuf_write: bytes that the CPU writes under a lock, in order
 * @vaddr: where vmap() put it for the kernel, or NULL
 */
struct vdmabuf_buffer {
	u32 flags;
	unsigned long page_count;
	struct folio **folios;
	unsigned long folio_count;
	struct user_count *user;
	struct mem_cgroup *memcg;
	bool (*may_access)(struct dma_buf *dmabuf, loff_t first, loff_t last, bool write);
	struct mutex zap_lock;	/* pages in processes */

	struct mutex lock;	/* the rest */
	struct page **pages;
	bool backed;
	struct list_head chunks;
	u64 dma_mask;
	struct list_head mappings;
	struct list_head writes;
	void *vaddr;
};

/**
 * struct vdmabuf_write - bytes that the CPU may be writing: no device's are newer
 * @node: in vdmabuf_buffer.writes
 * @first: first byte
 * @last: last byte
 */
struct vdmabuf_write {
	struct list_head node;
	size_t first;
	size_t last;
};

/**
 * struct vdmabuf_mapping - one mapping of one device, under vdmabuf_buffer.lock
 * @sgt: what the importer got
 * @node: in vdmabuf_buffer.mappings, or on no list
 * @attachment: whose it is; compared
 * @dev: device
 * @dir: direction it is mapped in, never DMA_FROM_DEVICE
 * @direct: the addresses are those of the memory, the DMA API has no part in it
 * @cpu_newer: the CPU may have written, after begin_cpu_access, since the device's
 *	bytes were current
 * @announced: its importer says when the device uses the memory: bytes move then only
 * @stale: @announced, and memory is newer since it was used last
 * @writing: @announced, and the device is writing
 */
struct vdmabuf_mapping {
	struct sg_table sgt;
	struct list_head node;
	struct dma_buf_attachment *attachment;
	struct device *dev;
	enum dma_data_direction dir;
	bool direct;
	bool cpu_newer;
	bool announced;
	bool stale;
	bool writing;
};

static inline size_t vdmabuf_size(const struct vdmabuf_buffer *buffer)
{
	return buffer->page_count << PAGE_SHIFT;
}

/* The lines of the debugfs file, in its order. */
enum vdmabuf_counter {
	VDMABUF_COUNT_BUFFERS,
	VDMABUF_COUNT_BYTES,
	VDMABUF_COUNT_MAPPINGS,
	VDMABUF_COUNT_FOR_CPU,
	VDMABUF_COUNT_FOR_CPU_SKIPPED,
	VDMABUF_COUNT_FOR_DEVICE,
	VDMABUF_COUNT_FOR_DEVICE_SKIPPED,
	VDMABUF_COUNT_SYNCED_BYTES,
	VDMABUF_COUNTERS
};

/* main.c */
unsigned int vdmabuf_max_buffers(void);
unsigned int vdmabuf_max_user_buffers(void);

/* buffer.c */
extern const struct dma_buf_ops vdmabuf_ops;
extern const struct dma_buf_ops vdmabuf_strict_ops;
struct vdmabuf_buffer *vdmabuf_buffer_alloc(u64 size, u32 flags);
struct vdmabuf_buffer *vdmabuf_buffer_from_memfd(int memfd, u64 offset, u64 size);
int vdmabuf_buffer_back(struct vdmabuf_buffer *buffer, bool interruptible);
void vdmabuf_buffer_free(struct vdmabuf_buffer *buffer);
struct dma_buf *vdmabuf_buffer_export(struct vdmabuf_buffer *buffer, const char *name,
				      unsigned int mode);

/* pages.c */
int vdmabuf_pages_alloc(struct vdmabuf_buffer *buffer, bool interruptible);
void vdmabuf_pages_free(struct vdmabuf_buffer *buffer);

/* coherent.c */
int vdmabuf_coherent_init(void);
void vdmabuf_coherent_exit(void);
int vdmabuf_coherent_alloc(struct vdmabuf_buffer *buffer, bool interruptible);
void vdmabuf_coherent_free(struct vdmabuf_buffer *buffer);
pgprot_t vdmabuf_coherent_prot(const struct vdmabuf_buffer *buffer, pgprot_t prot);
bool vdmabuf_translated(struct device *dev);
int vdmabuf_coherent_map(struct vdmabuf_mapping *mapping);

/* memfd.c */
int vdmabuf_memfd_pin(struct vdmabuf_buffer *buffer, int memfd, loff_t offset);
void vdmabuf_memfd_unpin(struct vdmabuf_buffer *buffer);

/* dma.c */
int vdmabuf_attach(struct dma_buf *dmabuf, struct dma_buf_attachment *attachment);
struct sg_table *vdmabuf_map(struct dma_buf_attachment *attachment,
			     enum dma_data_direction direction);
void vdmabuf_unmap(struct dma_buf_attachment *attachment, struct sg_table *sgt,
		   enum dma_data_direction direction);

/* cache.c */
void vdmabuf_pull(struct vdmabuf_buffer *buffer, struct vdmabuf_mapping *mapping);
void vdmabuf_refresh(struct vdmabuf_buffer *buffer, struct dma_resv *resv);
int vdmabuf_begin_cpu_access(struct dma_buf *dmabuf, enum dma_data_direction direction);
int vdmabuf_end_cpu_access(struct dma_buf *dmabuf, enum dma_data_direction direction);

int vdmabuf_begin_range(struct dma_buf *dmabuf, loff_t first, loff_t last,
			enum dma_data_direction direction);
void vdmabuf_end_range(struct dma_buf *dmabuf, loff_t first, loff_t last,
		       enum dma_data_direction direction);
int vdmabuf_start_dma(struct dma_buf_attachment *attachment, enum dma_data_direction direction);
void vdmabuf_end_dma(struct dma_buf_attachment *attachment);

/* framework.c */
int vdmabuf_framework_pin(struct vdmabuf_buffer *buffer);
void vdmabuf_framework_unpin(struct vdmabuf_buffer *buffer);
void vdmabuf_framework_register(void);
void vdmabuf_framework_unregister(void);

/* cpu_map.c */
int vdmabuf_mmap(struct dma_buf *dmabuf, struct vm_area_struct *vma);
void vdmabuf_released(struct dma_buf *dmabuf, loff_t first, loff_t last);
int vdmabuf_vmap(struct dma_buf *dmabuf, struct iosys_map *map);
void vdmabuf_vunmap(struct dma_buf *dmabuf, struct iosys_map *map);

/* debugfs.c */
void vdmabuf_count(enum vdmabuf_counter counter, s64 value);
bool vdmabuf_count_below(enum vdmabuf_counter counter, s64 limit);
void vdmabuf_debugfs_init(void);
void vdmabuf_debugfs_exit(void);

#endif /* VDMABUF_BUFFER_H */
