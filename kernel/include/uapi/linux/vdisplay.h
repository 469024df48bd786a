/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * vdisplay: a virtual scan-out, /dev/vdisplay.
 *
 * Each open file is a display. It shows one dma-buf, the front buffer: once in
 * every frame the device reads it from the first line to the last, spread over
 * the whole frame as a real scan-out is, and says what it has seen as a CRC. It
 * holds a DMA read lock on the whole buffer from before the flip that shows any of
 * it until another buffer is shown, so nobody who uses locks writes a buffer on
 * display. When somebody wants a buffer that has been locked for hold_timeout_ms (of
 * dmabuf_sync) the display gives it back within a sixteenth of a frame and shows
 * nothing.
 * open() fails with ENOSPC for a user who has max_user_displays.
 *
 * read() gives struct vdisplay_event, whole ones only; poll() says EPOLLIN when
 * there are some and EPOLLOUT when no flip is pending. The device keeps the
 * newest VDISPLAY_EVENTS.
 *
 * Every ioctl fails with EINVAL for an unknown flag or a non-zero pad, with
 * EFAULT for a bad pointer and with ENOTTY for an unknown number; a call that
 * fails changes nothing.
 */
#ifndef _UAPI_LINUX_VDISPLAY_H
#define _UAPI_LINUX_VDISPLAY_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define VDISPLAY_EVENTS		256

#define VDISPLAY_MIN_PERIOD_US	1000
#define VDISPLAY_MAX_PERIOD_US	10000000

/* Fail with EAGAIN instead of waiting for a lock. */
#define VDISPLAY_FLIP_NONBLOCK	(1 << 0)

/**
 * struct vdisplay_flip - show a buffer from the next frame on
 * @fd: (in) dma-buf, or -1 for none
 * @flags: (in) VDISPLAY_FLIP_*
 * @offset: (in) first byte shown
 * @length: (in) bytes shown, not zero; zero for none
 * @user_data: (in) given back with events
 * @period_us: (in) length of a frame from then on; 0 to leave it (16667 at first)
 * @pad: (in) must be zero
 *
 * Returns when the buffer is locked. Errors: EBUSY another flip is pending;
 * EAGAIN; EINTR; EBADF no such descriptor, or it cannot be read; EINVAL not a
 * dma-buf, range outside it, bad period; what the exporter says; ENOMEM.
 */
struct vdisplay_flip {
	__s32 fd;
	__u32 flags;
	__u64 offset;
	__u64 length;
	__u64 user_data;
	__u32 period_us;
	__u32 pad;
};

#define VDISPLAY_EVENT_FLIP	1	/* a buffer is shown from this frame on */
#define VDISPLAY_EVENT_FRAME	2	/* a frame was read to its end; @crc is valid */
#define VDISPLAY_EVENT_RELEASE	3	/* a buffer is given back, after a flip or overdue */

/**
 * struct vdisplay_event - what happened
 * @type: VDISPLAY_EVENT_*
 * @crc: IEEE CRC-32 (as of zlib) of the bytes shown
 * @sequence: number of the frame, from 0
 * @time_ns: CLOCK_MONOTONIC
 * @user_data: of the flip that brought the buffer
 * @lost: events dropped before this one since open()
 */
struct vdisplay_event {
	__u32 type;
	__u32 crc;
	__u64 sequence;
	__u64 time_ns;
	__u64 user_data;
	__u64 lost;
};

/* 0xA8 is shared with dmabuf_sync, vdmabuf and vblit; 70-7f are vdisplay's. */
#define VDISPLAY_IOC_MAGIC	0xA8
#define VDISPLAY_IOC_FLIP	_IOW(VDISPLAY_IOC_MAGIC, 0x70, struct vdisplay_flip)

#endif /* _UAPI_LINUX_VDISPLAY_H */
