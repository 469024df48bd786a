/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vblit: what its files share.
 */
#ifndef VBLIT_H
#define VBLIT_H

#include <linux/device.h>
#include <linux/dma-buf.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/wait.h>

#include <linux/dmabuf-sync.h>
#include <uapi/linux/vblit.h>

#include "../compat.h"

struct vblit_job;

/**
 * struct vblit_device - one engine
 * @dev: does the DMA
 * @attach_lock: @attachments and their users
 * @attachments: one for each dma-buf that a job uses
 * @jobs_lock: vblit_job.node of all jobs
 * @engine_lock: @started, @running and vblit_job.stopped
 * @started: jobs whose turn it is, in order
 * @running: the one being executed
 * @engine_wait: the engine waits here for work, and others for the engine
 * @engine: thread that plays the hardware
 */
struct vblit_device {
	struct device *dev;
	struct mutex attach_lock;	/* see above */
	struct list_head attachments;
	struct mutex jobs_lock;		/* see above */
	spinlock_t engine_lock;		/* see above */
	struct list_head started;
	struct vblit_job *running;
	wait_queue_head_t engine_wait;
	struct task_struct *engine;
};

/**
 * struct vblit_attachment - a dma-buf that jobs of this device use
 * @node: in vblit_device.attachments
 * @dmabuf: reference
 * @attach: made with the first job, detached with the last
 * @sgt: mapping, while @mapped is not zero
 * @users: jobs, under vblit_device.attach_lock
 * @lock: @sgt and @mapped; outside any dma_resv
 * @mapped: jobs between prepare and finish
 */
struct vblit_attachment {
	struct list_head node;
	struct mutex lock;		/* see above */
	struct dma_buf *dmabuf;
	struct dma_buf_attachment *attach;
	struct sg_table *sgt;
	unsigned int users;
	unsigned int mapped;
};

/**
 * struct vblit_step - one operation, checked
 * @op: as user space gave it
 * @src: buffer it reads, NULL for a fill
 */
struct vblit_step {
	struct vblit_op op;
	struct vblit_attachment *src;
};

/**
 * struct vblit_job - what was submitted at once
 * @vdev: device
 * @sync: its buffers; our reference goes with @node
 * @node: in the list of the file that submitted it, as long as it can be cancelled
 * @engine_node: in vblit_device.started
 * @stopped: the engine must let go of it
 * @buffers: all attachments, each counted once
 * @buffer_count: length of @buffers
 * @dst: buffer that is written
 * @step_count: length of @steps
 * @steps: operations in order
 *
 * Belongs to the framework: freed by ops->free.
 */
struct vblit_job {
	struct vblit_device *vdev;
	struct dmabuf_sync *sync;
	struct list_head node;
	struct list_head engine_node;
	bool stopped;
	struct vblit_attachment **buffers;
	unsigned int buffer_count;
	struct vblit_attachment *dst;
	unsigned int step_count;
	struct vblit_step steps[];
};

/* check.c */
int vblit_check_op(const struct vblit_op *op, u64 dst_size, u64 src_size, bool same_buffer);
void vblit_op_span(const struct vblit_op *op, const struct vblit_rect *rect, u64 *start, u64 *end);

/* attach.c */
struct vblit_attachment *vblit_attach(struct vblit_device *vdev, struct dma_buf *dmabuf);
void vblit_detach(struct vblit_device *vdev, struct vblit_attachment *attachment);
int vblit_map(struct vblit_device *vdev, struct vblit_attachment *attachment);
void vblit_unmap(struct vblit_attachment *attachment);

/* coherency.c */
void vblit_check_coherency(struct device *dev, const struct dma_buf *dmabuf,
			   struct sg_table *sgt);

/* job.c */
int vblit_submit(struct vblit_device *vdev, struct list_head *jobs,
		 struct vblit_submit __user *user);
void vblit_cancel_all(struct vblit_device *vdev, struct list_head *jobs);

/* engine.c */
int vblit_engine_start(struct vblit_device *vdev);
void vblit_engine_stop(struct vblit_device *vdev);
void vblit_engine_run(struct vblit_job *job);
void vblit_engine_drop(struct vblit_job *job);

#endif /* VBLIT_H */
