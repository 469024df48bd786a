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

#define VDMABUF_CAP_COHERENT	(1ULL << 0)	/* VDMABUF_ALLOC_COHERENT */
#define VDMABUF_CAP_STRICT	(1ULL << 1)	/* VDMABUF_ALLOC_STRICT */

/**
 * struct vdmabuf_query - version, capabilities and limits
 * @abi_version: (out) VDMABUF_ABI_VERSION of the module
 * @pad: (in) must be zero
 * @capabilities: (out) VDMABUF_CAP_*
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

/*
 * CPU and devices use the same bytes at once: no cache maintenance is needed. Slow for
 * the CPU on machines without coherent DMA.
 */
#define VDMABUF_ALLOC_COHERENT	(1 << 0)
/*
 * What a process has mapped can be read while it holds a lock, and written while it
 * holds one for writing, on any byte of the page; else it gets SIGBUS. Its children do
 * not inherit the mapping.
 */
#define VDMABUF_ALLOC_STRICT	(1 << 1)
#define VDMABUF_ALLOC_FLAGS	(VDMABUF_ALLOC_COHERENT | VDMABUF_ALLOC_STRICT)

/**
 * struct vdmabuf_alloc - a dma-buf of fresh, zeroed pages
 * @size: (in) bytes, a multiple of the page size
 * @flags: (in) VDMABUF_ALLOC_*
 * @fd_flags: (in) O_RDONLY or O_RDWR, with O_CLOEXEC or without
 * @name: (in) shown in /sys/kernel/debug/dma_buf and fdinfo, NUL-terminated, may be empty
 * @fd: (out) the dma-buf
 * @pad: (in) must be zero
 *
 * The memory is allocated when a device or a process maps it for the first time, so
 * that it suits the devices that are attached by then, and is charged to the memory
 * cgroup of the caller: mmap() and whatever makes a device map it fail with ENOMEM
 * when that is full.
 *
 * Errors: EINVAL zero or misaligned size; EMSGSIZE larger than max_size; ENOSPC
 * more buffers than the module's parameter max_buffers, or more of one user than
 * max_user_buffers; EOPNOTSUPP strict, and the
 * module dmabuf_sync is not loaded; EMFILE, ENFILE too many open files; ENOMEM.
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
 * end; EMSGSIZE larger than max_size; ENOSPC as above; EMFILE, ENFILE too many open files; ENOMEM.
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
