/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * vdmabuf: a virtual dma-buf exporter, /dev/vdmabuf.
 *
 * Every ioctl fails with EINVAL for an unknown flag or a non-zero pad, with
 * EFAULT for a bad pointer and with ENOTTY for an unknown number; a call that
 * fails changes nothing.
 */
#ifndef _UAPI_LINUX_VDMABUF_H
#define _UAPI_LINUX_VDMABUF_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define VDMABUF_ABI_VERSION	1

#define VDMABUF_NAME_LEN	32	/* DMA_BUF_NAME_LEN, with its NUL */

/**
 * struct vdmabuf_query - version, capabilities and limits
 * @abi_version: (out) VDMABUF_ABI_VERSION of the module
 * @pad: (in) must be zero
 * @capabilities: (out) none defined yet
 * @max_size: (out) largest buffer in bytes
 * @page_size: (out) sizes and offsets are multiples of it
 */
struct vdmabuf_query {
	__u32 abi_version;
	__u32 pad;
	__u64 capabilities;
	__u64 max_size;
	__u64 page_size;
};

/**
 * struct vdmabuf_alloc - a dma-buf of fresh, zeroed pages
 * @size: (in) bytes, a multiple of the page size
 * @flags: (in) must be zero
 * @fd_flags: (in) O_RDONLY or O_RDWR, with O_CLOEXEC or without
 * @name: (in) shown in /sys/kernel/debug/dma_buf and fdinfo, NUL-terminated, may be empty
 * @fd: (out) the dma-buf
 * @pad: (in) must be zero
 *
 * Errors: EINVAL zero or misaligned size; EMSGSIZE larger than max_size;
 * EMFILE, ENFILE too many open files; EINTR a signal came; ENOMEM.
 */
struct vdmabuf_alloc {
	__u64 size;
	__u32 flags;
	__u32 fd_flags;
	char name[VDMABUF_NAME_LEN];
	__s32 fd;
	__u32 pad;
};

/**
 * struct vdmabuf_from_memfd - a dma-buf of a window of a memfd
 * @memfd: (in) a memfd sealed with F_SEAL_SHRINK, and neither with F_SEAL_WRITE nor
 *	F_SEAL_FUTURE_WRITE
 * @flags: (in) must be zero
 * @offset: (in) bytes, a multiple of the page size
 * @size: (in) bytes, a multiple of the page size, within the file
 * @fd_flags: (in) as in struct vdmabuf_alloc
 * @fd: (out) the dma-buf
 *
 * Errors: EBADF not an open fd, or not open for reading and writing; EINVAL not
 * a memfd, one of huge pages, wrong seals, window zero, misaligned or past the
 * end; EMSGSIZE larger than max_size; EMFILE, ENFILE too many open files; ENOMEM.
 */
struct vdmabuf_from_memfd {
	__s32 memfd;
	__u32 flags;
	__u64 offset;
	__u64 size;
	__u32 fd_flags;
	__s32 fd;
};

/* 0xA8 is shared by the three drivers: dmabuf_sync 00-2f, vdmabuf 40-4f, vblit 60-6f. */
#define VDMABUF_IOC_MAGIC	0xA8
#define VDMABUF_IOC_QUERY	_IOWR(VDMABUF_IOC_MAGIC, 0x40, struct vdmabuf_query)
#define VDMABUF_IOC_ALLOC	_IOWR(VDMABUF_IOC_MAGIC, 0x41, struct vdmabuf_alloc)
#define VDMABUF_IOC_FROM_MEMFD	_IOWR(VDMABUF_IOC_MAGIC, 0x42, struct vdmabuf_from_memfd)

#endif /* _UAPI_LINUX_VDMABUF_H */
