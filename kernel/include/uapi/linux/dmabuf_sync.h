/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * dmabuf-sync: locks for dma-bufs.
 *
 * Single buffers are locked with plain fcntl(2) on the dma-buf fd. This file
 * is for what fcntl(2) has no room for: timed locks, sync objects (several
 * buffers locked at once, all or none) and job fds (DMA queued by a driver).
 *
 * Every ioctl fails with EINVAL for an unknown flag or a non-zero pad, with
 * EFAULT for a bad pointer and with ENOTTY for an unknown number; a call that
 * fails changes nothing.
 */
#ifndef _UAPI_LINUX_DMABUF_SYNC_H
#define _UAPI_LINUX_DMABUF_SYNC_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Raised when something is added; what exists is never renumbered. */
#define DMABUF_SYNC_ABI_VERSION	1

#define DMABUF_SYNC_NAME_LEN	32

/* Access types: what the holder does with the buffer. */
#define DMABUF_SYNC_READ	(1 << 0)
#define DMABUF_SYNC_WRITE	(1 << 1)
/*
 * The access is made by a device, not by the CPU: no cache maintenance is
 * done for it and it conflicts on the whole buffer, whatever its range.
 */
#define DMABUF_SYNC_DMA		(1 << 2)

/* "Wait for ever" for every timeout_ns below. */
#define DMABUF_SYNC_NO_TIMEOUT	0x7fffffffffffffffLL

/* Capabilities, struct dmabuf_sync_query.capabilities */
#define DMABUF_SYNC_CAP_FCNTL	(1 << 0)	/* fcntl() locks on dma-buf fds */
#define DMABUF_SYNC_CAP_SETS	(1 << 1)	/* sync objects */
#define DMABUF_SYNC_CAP_JOBS	(1 << 2)	/* job fds */

/**
 * struct dmabuf_sync_query - version, capabilities and limits
 * @abi_version: (out) DMABUF_SYNC_ABI_VERSION of the module
 * @max_buffers: (out) most buffers in one sync object
 * @capabilities: (out) DMABUF_SYNC_CAP_*
 * @hold_timeout_ms: (out) hold time of a lock that asks for none
 * @max_hold_timeout_ms: (out) longest hold time a lock may ask for
 * @pad: (in) must be zero
 */
struct dmabuf_sync_query {
	__u32 abi_version;
	__u32 max_buffers;
	__u64 capabilities;
	__u32 hold_timeout_ms;
	__u32 max_hold_timeout_ms;
	__u64 pad;
};

/*
 * Sync object: do no cache maintenance (begin/end_cpu_access) for its CPU
 * accesses; the caller does DMA_BUF_IOCTL_SYNC itself.
 */
#define DMABUF_SYNC_CREATE_NO_CACHE	(1 << 0)

/**
 * struct dmabuf_sync_create - make an empty sync object
 * @name: (in) shown in debugfs and tracepoints, NUL-terminated
 * @flags: (in) DMABUF_SYNC_CREATE_*
 * @fd: (out) the sync object, O_CLOEXEC
 *
 * Errors: ENOSPC the user has max_user_objects (a module parameter) already; EMFILE,
 * ENFILE too many open files; ENOMEM.
 *
 * poll() on the fd: EPOLLIN once a lock asked for with
 * DMABUF_SYNC_LOCK_ASYNC is held (or has failed, then with EPOLLERR). The fd
 * can be passed to other processes; all of them are one owner.
 */
struct dmabuf_sync_create {
	char name[DMABUF_SYNC_NAME_LEN];
	__u32 flags;
	__s32 fd;
};

/**
 * struct dmabuf_sync_timed_lock - F_SETLKW with a timeout and a hold time
 * @fd: (in) a dma-buf
 * @access: (in) DMABUF_SYNC_READ or DMABUF_SYNC_WRITE
 * @start: (in) first byte, from the start of the buffer
 * @length: (in) bytes, 0 for all up to the largest offset; else the range must be in the buffer
 * @timeout_ns: (in) give up at this CLOCK_MONOTONIC time (absolute, so that
 *	the call can be restarted), or DMABUF_SYNC_NO_TIMEOUT; 0 to fail with
 *	EAGAIN instead of waiting
 * @hold_timeout_ms: (in) hold time, 0 for the default
 * @pad: (in) must be zero
 *
 * The lock belongs to the calling process, as one taken with fcntl(), and is
 * given back with fcntl(F_UNLCK) or by closing the file. Errors: those of
 * fcntl(F_SETLKW); ETIMEDOUT also when @timeout_ns passed (the buffer was
 * busy) - a revoked hold is reported first, by the same error, once.
 */
struct dmabuf_sync_timed_lock {
	__s32 fd;
	__u32 access;
	__u64 start;
	__u64 length;
	__s64 timeout_ns;
	__u32 hold_timeout_ms;
	__u32 pad;
};

/**
 * struct dmabuf_sync_add - add a buffer to an unlocked sync object
 * @fd: (in) a dma-buf
 * @access: (in) DMABUF_SYNC_READ and/or DMABUF_SYNC_WRITE, with DMABUF_SYNC_DMA or without
 * @offset: (in) first byte of the range
 * @length: (in) bytes, 0 for the rest of the buffer
 * @pad: (in) must be zero
 *
 * Errors: EBADF not an open fd, or opened without the mode the access needs;
 * EINVAL not a dma-buf, bad range or access; EEXIST already in the object;
 * EBUSY object is locked or waiting; ENOSPC full.
 */
struct dmabuf_sync_add {
	__s32 fd;
	__u32 access;
	__u64 offset;
	__u64 length;
	__u64 pad;
};

/**
 * struct dmabuf_sync_remove - take a buffer out of an unlocked sync object
 * @fd: (in) a dma-buf
 * @pad: (in) must be zero
 *
 * Errors: ENOENT not in the object; EBUSY object is locked or waiting.
 */
struct dmabuf_sync_remove {
	__s32 fd;
	__u32 pad;
};

#define DMABUF_SYNC_LOCK_NONBLOCK	(1 << 0)	/* EAGAIN instead of waiting */
#define DMABUF_SYNC_LOCK_ASYNC		(1 << 1)	/* return at once, poll() tells */

/**
 * struct dmabuf_sync_lock - lock all buffers of a sync object, or none
 * @flags: (in) DMABUF_SYNC_LOCK_*, at most one
 * @hold_timeout_ms: (in) hold time, 0 for the default
 * @timeout_ns: (in) give up at this CLOCK_MONOTONIC time, or
 *	DMABUF_SYNC_NO_TIMEOUT; ignored with NONBLOCK, must be
 *	DMABUF_SYNC_NO_TIMEOUT with ASYNC
 *
 * Errors: EINVAL empty object; EBUSY locked or waiting already; EAGAIN;
 * EINTR; ETIMEDOUT waited until @timeout_ns; what the exporter says when
 * cache maintenance fails.
 */
struct dmabuf_sync_lock {
	__u32 flags;
	__u32 hold_timeout_ms;
	__s64 timeout_ns;
};

#define DMABUF_SYNC_STATE_IDLE		0
#define DMABUF_SYNC_STATE_WAITING	1
#define DMABUF_SYNC_STATE_LOCKED	2
#define DMABUF_SYNC_STATE_FAILED	3	/* an ASYNC lock failed, see @error */

/**
 * struct dmabuf_sync_info - what a sync object is doing
 * @state: (out) DMABUF_SYNC_STATE_*
 * @buffers: (out) number of buffers in it
 * @revoked: (out) how many of its holds were revoked since it was locked
 * @error: (out) negative errno of an ASYNC lock that failed, else 0
 */
struct dmabuf_sync_info {
	__u32 state;
	__u32 buffers;
	__u32 revoked;
	__s32 error;
};

#define DMABUF_SYNC_JOB_QUEUED	0	/* waits for CPU holds */
#define DMABUF_SYNC_JOB_GRANTED	1	/* its fence is on its buffers */
#define DMABUF_SYNC_JOB_RUNNING	2	/* fences before it have signalled */
#define DMABUF_SYNC_JOB_DONE	3	/* fence signalled, buffers given back */

/**
 * struct dmabuf_sync_job_info - how far a DMA job is
 * @state: (out) DMABUF_SYNC_JOB_*
 * @status: (out) 0, or the negative errno it ended with
 * @queued_ns: (out) CLOCK_MONOTONIC time of each step, 0 when still to come
 * @granted_ns: (out) "
 * @started_ns: (out) "
 * @done_ns: (out) "
 *
 * poll() on a job fd: EPOLLOUT once granted, EPOLLIN once done (EPOLLERR
 * as well when it ended with an error).
 */
struct dmabuf_sync_job_info {
	__u32 state;
	__s32 status;
	__u64 queued_ns;
	__u64 granted_ns;
	__u64 started_ns;
	__u64 done_ns;
};

/**
 * struct dmabuf_sync_job_sync_file - the fence of a job as a sync_file
 * @fd: (out) sync_file, O_CLOEXEC
 * @pad: (in) must be zero
 *
 * Errors: EAGAIN before the job is granted: a fence that waits for a CPU hold
 * must not exist. The job's own errno if it failed without having been
 * granted.
 */
struct dmabuf_sync_job_sync_file {
	__s32 fd;
	__u32 pad;
};

/* 0xA8 is listed for nobody in Documentation/userspace-api/ioctl/ioctl-number.rst. */
#define DMABUF_SYNC_IOC_MAGIC		0xA8

/* on /dev/dmabuf_sync */
#define DMABUF_SYNC_IOC_QUERY		_IOWR(DMABUF_SYNC_IOC_MAGIC, 0x00, struct dmabuf_sync_query)
#define DMABUF_SYNC_IOC_CREATE		\
	_IOWR(DMABUF_SYNC_IOC_MAGIC, 0x01, struct dmabuf_sync_create)
#define DMABUF_SYNC_IOC_TIMED_LOCK	\
	_IOW(DMABUF_SYNC_IOC_MAGIC, 0x02, struct dmabuf_sync_timed_lock)

/* on a sync object */
#define DMABUF_SYNC_IOC_ADD		_IOW(DMABUF_SYNC_IOC_MAGIC, 0x10, struct dmabuf_sync_add)
#define DMABUF_SYNC_IOC_REMOVE		_IOW(DMABUF_SYNC_IOC_MAGIC, 0x11, struct dmabuf_sync_remove)
#define DMABUF_SYNC_IOC_LOCK		_IOW(DMABUF_SYNC_IOC_MAGIC, 0x12, struct dmabuf_sync_lock)
/*
 * Give all buffers back, or take a waiting ASYNC lock back. Errors: EPERM not
 * locked; ETIMEDOUT holds were revoked (the object is unlocked all the same).
 */
#define DMABUF_SYNC_IOC_UNLOCK		_IO(DMABUF_SYNC_IOC_MAGIC, 0x13)
#define DMABUF_SYNC_IOC_INFO		_IOR(DMABUF_SYNC_IOC_MAGIC, 0x14, struct dmabuf_sync_info)

/* on a job fd */
#define DMABUF_SYNC_IOC_JOB_INFO	\
	_IOR(DMABUF_SYNC_IOC_MAGIC, 0x20, struct dmabuf_sync_job_info)
#define DMABUF_SYNC_IOC_JOB_SYNC_FILE	\
	_IOWR(DMABUF_SYNC_IOC_MAGIC, 0x21, struct dmabuf_sync_job_sync_file)

#endif /* _UAPI_LINUX_DMABUF_SYNC_H */
