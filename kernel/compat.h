/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * All differences between the supported kernels, 6.1 and later. features.mk
 * finds out which kernel it is by reading its headers.
 */
#ifndef DMABUF_SYNC_COMPAT_H
#define DMABUF_SYNC_COMPAT_H

#include <linux/fs.h>
#include <linux/module.h>
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

#endif /* DMABUF_SYNC_COMPAT_H */
