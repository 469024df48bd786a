/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vdisplay: what its files share.
 */
#ifndef VDISPLAY_H
#define VDISPLAY_H

#include <linux/device.h>
#include <linux/dma-buf.h>
#include <linux/refcount.h>
#include <linux/spinlock.h>
#include <linux/wait.h>

#include <linux/dmabuf-sync.h>
#include <uapi/linux/vdisplay.h>

#include "../compat.h"

struct user_count;

/**
 * struct vdisplay_lock - the DMA read lock of a dma-buf
 * @sync: locked
 * @users: flips of this display to the dma-buf, one shown and one about to be
 */
struct vdisplay_lock {
	struct dmabuf_sync *sync;
	refcount_t users;
};

/**
 * struct vdisplay_buffer - a buffer that is shown or about to be
 * @dev: the device
 * @lock: its lock
 * @dmabuf: reference
 * @attach: of the device
 * @sgt: mapping
 * @offset: first byte shown
 * @length: bytes shown
 * @user_data: of the flip
 */
struct vdisplay_buffer {
	struct device *dev;
	struct vdisplay_lock *lock;
	struct dma_buf *dmabuf;
	struct dma_buf_attachment *attach;
	struct sg_table *sgt;
	u64 offset;
	u64 length;
	u64 user_data;
};

/**
 * struct vdisplay - an open file
 * @dev: the device
 * @user: who opened it
 * @lock: all below but @thread
 * @wait: the thread waits here for the next frame, readers for events
 * @thread: plays the hardware
 * @stopping: the file is being closed
 * @front: buffer being shown; only the thread changes it
 * @flipping: a flip is being prepared or pending
 * @pending: shown from the next frame on, if @ready
 * @ready: @pending is valid; it may be NULL
 * @pending_period_us: length of a frame from then on, 0 for as it is
 * @period_us: length of a frame
 * @sequence: number of the frame
 * @events: ring
 * @first: oldest event
 * @count: how many
 * @lost: how many there was no room for
 */
struct vdisplay {
	struct device *dev;
	struct user_count *user;
	spinlock_t lock;	/* see above */
	wait_queue_head_t wait;
	struct task_struct *thread;
	bool stopping;
	struct vdisplay_buffer *front;
	bool flipping;
	struct vdisplay_buffer *pending;
	bool ready;
	u32 pending_period_us;
	u32 period_us;
	u64 sequence;
	struct vdisplay_event events[VDISPLAY_EVENTS];
	unsigned int first;
	unsigned int count;
	u64 lost;
};

/* buffer.c */
struct vdisplay_buffer *vdisplay_buffer_get(struct vdisplay *display,
					    const struct vdisplay_flip *flip);
void vdisplay_buffer_put(struct vdisplay_buffer *buffer);
bool vdisplay_buffer_overdue(const struct vdisplay_buffer *buffer);
u32 vdisplay_buffer_crc(struct vdisplay_buffer *buffer, u32 crc, u64 start, u64 end);

/* scanout.c */
int vdisplay_thread(void *data);
void vdisplay_event(struct vdisplay *display, u32 type, u32 crc, u64 user_data);

#endif /* VDISPLAY_H */
