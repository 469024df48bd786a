/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * All differences between the supported kernels, 6.1 and later. features.mk
 * finds out which kernel it is by reading its headers.
 */
#ifndef DMABUF_SYNC_COMPAT_H
#define DMABUF_SYNC_COMPAT_H

#include <linux/dma-buf.h>
#include <linux/dma-resv.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/shmem_fs.h>
#include <linux/version.h>
#ifdef HAVE_FILELOCK_H
#include <linux/filelock.h>
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
#error "dmabuf-sync needs Linux 6.1 or later"
#endif

/* Quoted since 6.13, bare before; the tag behind it has always been this. */
#define IMPORT_DMA_BUF_NS()	MODULE_INFO(import_ns, "DMA_BUF")

/* struct file_lock keeps the common part in a struct of its own since 6.9. */
#ifdef HAVE_FILE_LOCK_CORE
#define file_lock_owner(fl)	((fl)->c.flc_owner)
#define file_lock_type(fl)	((fl)->c.flc_type)
#define file_lock_flags(fl)	((fl)->c.flc_flags)
#define file_lock_pid(fl)	((fl)->c.flc_pid)
#define file_lock_file(fl)	((fl)->c.flc_file)
#define for_each_posix_lock(fl, ctx) \
	list_for_each_entry(fl, &(ctx)->flc_posix, c.flc_list)
#else
#define file_lock_owner(fl)	((fl)->fl_owner)
#define file_lock_type(fl)	((fl)->fl_type)
#define file_lock_flags(fl)	((fl)->fl_flags)
#define file_lock_pid(fl)	((fl)->fl_pid)
#define file_lock_file(fl)	((fl)->fl_file)
#define for_each_posix_lock(fl, ctx) \
	list_for_each_entry(fl, &(ctx)->flc_posix, fl_list)
#endif

/*
 * A reference to a file whose memory is known to be there but whose count may
 * have dropped to zero; NULL when it has.
 */
static inline struct file *get_file_unless_dying(struct file *file)
{
#ifdef HAVE_GET_FILE_ACTIVE
	return get_file_active(&file);
#else
	return get_file_rcu(file) ? file : NULL;
#endif
}

/*
 * What vdmabuf needs.
 */
#ifndef HAVE_VM_FLAGS_SET
static inline void vm_flags_set(struct vm_area_struct *vma, vm_flags_t flags)
{
	vma->vm_flags |= flags;
}

static inline void vm_flags_clear(struct vm_area_struct *vma, vm_flags_t flags)
{
	vma->vm_flags &= ~flags;
}
#endif

/* While a dma-buf had a lock of its own, not all callers took that of its dma_resv. */
#ifdef HAVE_DMA_BUF_LOCK
#define dma_buf_assert_held(dmabuf)	((void)(dmabuf))
#else
#define dma_buf_assert_held(dmabuf)	dma_resv_assert_held((dmabuf)->resv)
#endif

/* Newer kernels trace it. */
#ifndef HAVE_DMA_BUF_FD_INSTALL
static inline void dma_buf_fd_install(struct dma_buf *dmabuf, int fd)
{
	fd_install(fd, dmabuf->file);
}
#endif

/* Not for huge pages, and without moving pages out of ZONE_MOVABLE. */
#ifndef HAVE_MEMFD_PIN_FOLIOS
static inline void unpin_folios(struct folio **folios, unsigned long count)
{
	while (count)
		folio_put(folios[--count]);
}

static inline long memfd_pin_folios(struct file *memfd, loff_t start, loff_t end,
				    struct folio **folios, unsigned int max_folios,
				    pgoff_t *offset)
{
	pgoff_t index = start >> PAGE_SHIFT;
	unsigned int count = 0;

	while (index <= end >> PAGE_SHIFT && count < max_folios) {
		struct page *page = shmem_read_mapping_page(memfd->f_mapping, index);

		if (IS_ERR(page)) {
			unpin_folios(folios, count);
			return PTR_ERR(page);
		}
		folios[count] = page_folio(page);
		if (!count)
			*offset = offset_in_folio(folios[0], start);
		index = folio_next_index(folios[count++]);
	}
	return count;
}
#endif

#endif /* DMABUF_SYNC_COMPAT_H */
