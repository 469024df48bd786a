/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vblit: what its files share.
 */
#ifndef VBLIT_H
#define VBLIT_H

#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/device.h>
#include <linux/dma-buf.h>
#include <linux/kobject.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/wait.h>

#include <linux/dmabuf-sync.h>
#include <uapi/linux/vblit.h>

#include "../compat.h"

struct vblit_cursor;
struct vblit_engine;
struct vblit_job;

/* Memory of its own that an engine works in. */
#define VBLIT_SCRATCH	4096

#define VBLIT_MAX_ENGINES	16

/**
 * struct vblit_backend - how the bytes are moved
 * @name: of the device node
 * @chunk: most bytes of one @copy; between two the engine looks at the clock
 * @pieces: how many it can move in a second, however small
 * @check: can the hardware reach this mapping? 0 or an error; may be NULL
 * @copy: from one buffer to another
 * @read: from a buffer to byte @at of the engine's scratch memory
 * @write: from byte @at of the scratch memory to a buffer
 *
 * The last three return when the bytes have arrived: 0 or an error. They are
 * called by the engine's thread, in the fence signalling path.
 */
struct vblit_backend {
	const char *name;
	size_t chunk;
	unsigned int pieces;
	int (*check)(struct device *dev, struct sg_table *sgt);
	int (*copy)(struct vblit_engine *engine, struct vblit_cursor *dst, u64 to,
		    struct vblit_cursor *src, u64 from, size_t length);
	int (*read)(struct vblit_engine *engine, struct vblit_cursor *src, u64 from, size_t at,
		    size_t length);
	int (*write)(struct vblit_engine *engine, struct vblit_cursor *dst, u64 to, size_t at,
		     size_t length);
};

/**
 * struct vblit_device - a device node and its engines
 * @ref: the driver's, one for each open file and one for each job
 * @node: in the list of all devices
 * @dev: does the DMA; not to be used once the device is @gone
 * @backend: moves the bytes
 * @priv: the backend's
 * @own_view: it sees memory through a copy or caches of its own
 * @misc: device node
 * @attach_lock: @attachments and their users
 * @attachments: one for each dma-buf that a job uses
 * @busy: how many of them are mapped, or being detached
 * @idle: whoever waits until none is waits here
 * @submit_lock: read: a job is being submitted; write: @gone
 * @gone: the driver has let go of the device
 * @jobs_lock: vblit_job.node of all jobs, and @files
 * @files: open files
 * @engine_lock: @started, vblit_engine.job and vblit_job.stopped
 * @started: jobs that wait for an engine, in order
 * @engine_count: length of @engines
 * @engines: the engines
 */
struct vblit_device {
	struct kref ref;
	struct list_head node;
	struct device *dev;
	const struct vblit_backend *backend;
	void *priv;
	bool own_view;
	struct miscdevice misc;
	struct mutex attach_lock;	/* see above */
	struct list_head attachments;
	atomic_t busy;
	wait_queue_head_t idle;
	struct rw_semaphore submit_lock;	/* see above */
	bool gone;
	struct mutex jobs_lock;		/* see above */
	struct list_head files;
	spinlock_t engine_lock;		/* see above */
	struct list_head started;
	unsigned int engine_count;
	struct vblit_engine *engines[VBLIT_MAX_ENGINES];
};

/**
 * struct vblit_file - an open file
 * @vdev: reference
 * @node: in vblit_device.files
 * @jobs: its jobs that can still be cancelled
 */
struct vblit_file {
	struct vblit_device *vdev;
	struct list_head node;
	struct list_head jobs;
};

/* vblit_engine.fault: what happens to the jobs that begin while it is set */
enum vblit_fault {
	VBLIT_FAULT_NONE,
	VBLIT_FAULT_HANG,	/* nothing, until the watchdog stops them */
	VBLIT_FAULT_ERROR,	/* they end with EIO and have written nothing */
	VBLIT_FAULT_PARTIAL,	/* they end with EIO half-way */
	VBLIT_FAULT_SPURIOUS,	/* interrupts come that nobody has asked for */
	VBLIT_FAULT_COUNT,
};

/**
 * struct vblit_engine - executes one job at a time
 * @kobj: engineN of the device in sysfs
 * @released: @kobj is gone
 * @vdev: device
 * @index: number in the device
 * @job: what it executes, or is about to; under vblit_device.engine_lock
 * @wait: the thread waits here for work, and others for the thread
 * @thread: plays the hardware, or drives it
 * @scratch: VBLIT_SCRATCH bytes
 * @scratch_dma: their address for the device
 * @finished: status register: @job is done; under vblit_device.engine_lock
 * @status: status register: error of @job
 * @spurious: interrupts that meant nothing
 * @bytes_per_second: speed, 0 for as fast as it can
 * @latency_us: time from the beginning of a job to its first byte
 * @fault: enum vblit_fault
 */
struct vblit_engine {
	struct kobject kobj;
	struct completion released;
	struct vblit_device *vdev;
	unsigned int index;
	struct vblit_job *job;
	wait_queue_head_t wait;
	struct task_struct *thread;
	void *scratch;
	dma_addr_t scratch_dma;
	bool finished;
	int status;
	unsigned long spurious;
	unsigned long bytes_per_second;
	unsigned int latency_us;
	unsigned int fault;
};

/**
 * struct vblit_attachment - a dma-buf that jobs of this device use
 * @node: in vblit_device.attachments
 * @dmabuf: reference
 * @attach: made with the first job, detached with the last; NULL once the device is gone
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
 * struct vblit_cursor - a position in the DMA addresses of a buffer
 * @sgt: mapping
 * @sg: segment that was used last
 * @start: byte of the buffer at which @sg starts
 */
struct vblit_cursor {
	struct sg_table *sgt;
	struct scatterlist *sg;
	u64 start;
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
 * @engine: the one that has it; under vblit_device.engine_lock
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
	struct vblit_engine *engine;
	bool stopped;
	struct vblit_attachment **buffers;
	unsigned int buffer_count;
	struct vblit_attachment *dst;
	unsigned int step_count;
	struct vblit_step steps[];
};

/* device.c */
struct vblit_device *vblit_device_add(struct device *dev, const struct vblit_backend *backend,
				      unsigned int engines, void *priv);
void vblit_device_remove(struct vblit_device *vdev);
void vblit_device_get(struct vblit_device *vdev);
void vblit_device_put(struct vblit_device *vdev);
void vblit_visit_engines(void (*func)(struct vblit_engine *engine));

/* params.c */
void vblit_params_apply(struct vblit_engine *engine);

/* sysfs.c */
int vblit_engine_show(struct vblit_engine *engine);
void vblit_engine_hide(struct vblit_engine *engine);

/* check.c */
int vblit_check_op(const struct vblit_op *op, u64 dst_size, u64 src_size, bool same_buffer);
void vblit_op_span(const struct vblit_op *op, const struct vblit_rect *rect, u64 *start, u64 *end);
u64 vblit_op_bytes(const struct vblit_op *op);

/* attach.c */
struct vblit_attachment *vblit_attach(struct vblit_device *vdev, struct dma_buf *dmabuf);
void vblit_detach(struct vblit_device *vdev, struct vblit_attachment *attachment);
void vblit_detach_all(struct vblit_device *vdev);
int vblit_map(struct vblit_device *vdev, struct vblit_attachment *attachment);
void vblit_unmap(struct vblit_device *vdev, struct vblit_attachment *attachment);
void vblit_cursor_init(struct vblit_cursor *cursor, struct vblit_attachment *attachment);
dma_addr_t vblit_cursor_seek(struct vblit_cursor *cursor, u64 offset, size_t *length);

/* coherency.c */
bool vblit_has_own_view(struct device *dev);
void vblit_check_coherency(struct device *dev, const struct dma_buf *dmabuf,
			   struct sg_table *sgt);

/* submit.c */
int vblit_submit(struct vblit_file *vfile, struct vblit_submit __user *user);

/* job.c */
struct dmabuf_sync *vblit_job_sync(struct vblit_job *job);
bool vblit_job_leave_list(struct vblit_job *job);
void vblit_job_granted(struct dmabuf_sync *sync, void *priv, int err);
void vblit_job_free(struct vblit_job *job);
void vblit_cancel_jobs(struct vblit_device *vdev, struct vblit_file *vfile);

/* engine.c */
struct vblit_engine *vblit_engine_start(struct vblit_device *vdev, unsigned int index);
void vblit_engine_stop(struct vblit_engine *engine);
void vblit_engine_run(struct vblit_job *job);
void vblit_engine_drop(struct vblit_job *job);
void vblit_engine_interrupt(struct vblit_engine *engine);

/* run.c */
bool vblit_run(struct vblit_engine *engine, struct vblit_job *job, int *err);

/* soft.c */
extern const struct vblit_backend vblit_soft;

/* edu.c */
#if defined(CONFIG_PCI_MSI) && defined(CONFIG_64BIT)
int vblit_edu_init(void);
void vblit_edu_exit(void);
#else
static inline int vblit_edu_init(void)
{
	return 0;
}

static inline void vblit_edu_exit(void)
{
}
#endif

#endif /* VBLIT_H */
