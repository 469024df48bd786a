/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * vblit: 2D DMA engines: /dev/vblit, played by the CPU, and /dev/vblit-edu, which is
 * QEMU's PCI device edu if there is one.
 *
 * A job is a list of operations on one destination and any number of sources,
 * which can be dma-bufs of any exporter. It runs after every CPU lock and
 * every fence that was on its buffers before it, and is a fence on all of them
 * while it runs.
 *
 * Every ioctl fails with EINVAL for an unknown flag or a non-zero pad, with
 * EFAULT for a bad pointer and with ENOTTY for an unknown number; a call that
 * fails changes nothing.
 */
#ifndef _UAPI_LINUX_VBLIT_H
#define _UAPI_LINUX_VBLIT_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define VBLIT_ABI_VERSION	1

#define VBLIT_MAX_OPS		256	/* in one job */
#define VBLIT_MAX_IN_FENCES	64	/* in one job */

/**
 * struct vblit_query - version, capabilities and limits
 * @abi_version: (out) VBLIT_ABI_VERSION of the module
 * @max_ops: (out) most operations in one job
 * @capabilities: (out) bit n: operation n (VBLIT_OP_*) is there; VBLIT_CAP_*
 * @engines: (out) jobs on different buffers that can run at once
 * @pad: (in) must be zero
 */
struct vblit_query {
	__u32 abi_version;
	__u32 max_ops;
	__u64 capabilities;
	__u32 engines;
	__u32 pad;
};

#define VBLIT_CAP_SCALE	(1 << 8)	/* VBLIT_OP_SCALE */
#define VBLIT_CAP_BLEND	(1 << 9)	/* VBLIT_OP_BLEND */

#define VBLIT_OP_FILL	0	/* dst rectangle = color */
#define VBLIT_OP_COPY	1	/* length bytes from src.offset to dst.offset */
#define VBLIT_OP_BLIT	2	/* src rectangle to dst rectangle of the same size and depth */

/* vblit_op.flags, BLIT only */
/*
 * The sizes may differ: column c of dst is column c * src.width / dst.width of
 * src, rounded down, and so for the rows.
 */
#define VBLIT_OP_SCALE	(1 << 0)
/*
 * Source over destination. Pixels have four bytes, the last is alpha, and colour
 * is premultiplied (DRM_FORMAT_ARGB8888): each byte becomes
 * min(255, src + dst * (255 - alpha) / 255), the quotient rounded to nearest.
 */
#define VBLIT_OP_BLEND	(1 << 1)

/**
 * struct vblit_rect - a rectangle of pixels in a buffer
 * @offset: byte of the buffer at which row 0 of the picture starts
 * @pitch: bytes from one row to the next, at least (@x + @width) pixels
 * @bytes_per_pixel: 1, 2, 3 or 4; what they mean does not matter
 * @x: left column, in pixels
 * @y: top row
 * @width: columns, not zero
 * @height: rows, not zero
 */
struct vblit_rect {
	__u64 offset;
	__u32 pitch;
	__u32 bytes_per_pixel;
	__u32 x;
	__u32 y;
	__u32 width;
	__u32 height;
};

/**
 * struct vblit_op - one operation
 * @op: VBLIT_OP_*
 * @flags: VBLIT_OP_SCALE, VBLIT_OP_BLEND
 * @src_fd: dma-buf that is read (COPY, BLIT), -1 for FILL
 * @color: FILL: pixel value, its low bytes_per_pixel bytes, little endian; else zero
 * @length: COPY: bytes, not zero; else zero. COPY uses src.offset and
 *	dst.offset only, the rest of both rectangles is zero.
 * @src: source rectangle; all zero for FILL
 * @dst: destination rectangle
 */
struct vblit_op {
	__u32 op;
	__u32 flags;
	__s32 src_fd;
	__u32 color;
	__u64 length;
	struct vblit_rect src;
	struct vblit_rect dst;
};

/* Return once the job is queued; without it, once it is granted. */
#define VBLIT_SUBMIT_NO_WAIT	(1 << 0)
/*
 * Do not wait for the fences that other drivers have left on the buffers: explicit
 * synchronisation. Jobs, CPU locks and memory that is being moved are waited for as ever.
 */
#define VBLIT_SUBMIT_NO_IMPLICIT	(1 << 1)

/**
 * struct vblit_submit - hand a job to the engine
 * @ops: (in) address of @num_ops struct vblit_op
 * @num_ops: (in) 1 to max_ops
 * @flags: (in) VBLIT_SUBMIT_*
 * @dst_fd: (in) dma-buf that all operations write
 * @job_fd: (out) job fd, see struct dmabuf_sync_job_info in linux/dmabuf_sync.h
 * @in_fences: (in) address of @num_in_fences __s32: sync_files that the job
 *	waits for before it runs, not before it is granted
 * @num_in_fences: (in) up to VBLIT_MAX_IN_FENCES
 * @pad: (in) must be zero
 *
 * The out-fence of a job is the sync_file that its job fd gives once it is
 * granted.
 *
 * Everything is checked before anything is queued. Errors: EBADF an fd is
 * not open, or @dst_fd cannot be written; EINVAL an fd is not a dma-buf, bad
 * operation or rectangle, out of bounds, source and destination overlap, an
 * in-fence is no sync_file; EMSGSIZE too many operations or in-fences; EMFILE,
 * ENFILE too many open files; ENOSPC the user has max_user_jobs (of dmabuf_sync) that
 * are not done; EINTR (waiting to be granted: the job was taken
 * back); ENODEV the device has been removed, ECANCELED it was while the job waited
 * to be granted; ENOMEM; what an exporter says to attach. Rectangles of the same buffer
 * with different pitches overlap if the bytes from their first to their last
 * pixel do.
 */
struct vblit_submit {
	__u64 ops;
	__u32 num_ops;
	__u32 flags;
	__s32 dst_fd;
	__s32 job_fd;
	__u64 in_fences;
	__u32 num_in_fences;
	__u32 pad;
};

/* 0xA8 is shared by the three drivers: dmabuf_sync 00-2f, vdmabuf 40-4f, vblit 60-6f. */
#define VBLIT_IOC_MAGIC		0xA8
#define VBLIT_IOC_QUERY		_IOWR(VBLIT_IOC_MAGIC, 0x60, struct vblit_query)
#define VBLIT_IOC_SUBMIT	_IOWR(VBLIT_IOC_MAGIC, 0x61, struct vblit_submit)

#endif /* _UAPI_LINUX_VBLIT_H */
