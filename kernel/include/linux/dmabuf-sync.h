/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmabuf-sync: the API for drivers.
 */
#ifndef _LINUX_DMABUF_SYNC_H
#define _LINUX_DMABUF_SYNC_H

#include <linux/dma-direction.h>
#include <linux/list.h>
#include <linux/types.h>
#include <uapi/linux/dmabuf_sync.h>

struct dma_buf;
struct dma_buf_attachment;
struct dma_buf_ops;
struct dma_fence;
struct dma_resv;
struct file;
struct dmabuf_sync;

#define DMA_BUF_ACCESS_R	DMABUF_SYNC_READ
#define DMA_BUF_ACCESS_W	DMABUF_SYNC_WRITE
#define DMA_BUF_ACCESS_RW	(DMABUF_SYNC_READ | DMABUF_SYNC_WRITE)
#define DMA_BUF_ACCESS_DMA_R	(DMA_BUF_ACCESS_R | DMABUF_SYNC_DMA)
#define DMA_BUF_ACCESS_DMA_W	(DMA_BUF_ACCESS_W | DMABUF_SYNC_DMA)
#define DMA_BUF_ACCESS_DMA_RW	(DMA_BUF_ACCESS_RW | DMABUF_SYNC_DMA)

/**
 * struct dmabuf_sync_ops - what a driver is told about its sync object
 *
 * All are optional except @start and @stop for an object given to dmabuf_sync_submit().
 * All are called from process context; none is called under a lock of the
 * framework. The order for a job is prepare, granted (the callback of
 * dmabuf_sync_submit()), start, [stop], finish, free.
 */
struct dmabuf_sync_ops {
	/**
	 * @prepare: the CPU is off all buffers, the fence is not yet
	 * published: map attachments and allocate here. May sleep. An error
	 * ends the job with it; @finish is not called then.
	 */
	int (*prepare)(struct dmabuf_sync *sync, void *priv);
	/**
	 * @start: every fence before the job has signalled: start the DMA and
	 * call dmabuf_sync_done() when it is over, from any context. This is
	 * the fence signalling path: no memory allocation, no dma_resv lock.
	 */
	void (*start)(struct dmabuf_sync *sync, void *priv);
	/**
	 * @queues: @start only queues the job behind others in the driver, which
	 * calls dmabuf_sync_running() when the hardware begins with it. Without
	 * it, the hardware is taken to begin at @start.
	 */
	bool queues;
	/**
	 * @stop: the watchdog ran out, or the client driver is going away:
	 * make the device let go of the memory. When it returns the fence is
	 * signalled with an error. Fence signalling path.
	 */
	void (*stop)(struct dmabuf_sync *sync, void *priv);
	/**
	 * @finish: the fence has signalled, the CPU has not got the buffers
	 * yet: unmap attachments here. May sleep, but must not lock them:
	 * dmabuf_sync_trylock() too waits for a job that has ended.
	 */
	void (*finish)(struct dmabuf_sync *sync, void *priv);
	/** @free: the last reference to the object is gone. */
	void (*free)(void *priv);
};

/**
 * typedef dmabuf_sync_granted_t - a submitted job was granted, or failed
 * @sync: the job
 * @priv: as given to dmabuf_sync_init()
 * @err: 0 when its fence is on all its buffers (this is the fence signalling
 *	path then: no memory allocation, no dma_resv lock); else why it never
 *	will be (then no other callback follows but free)
 */
typedef void (*dmabuf_sync_granted_t)(struct dmabuf_sync *sync, void *priv, int err);

/**
 * struct dmabuf_sync_exporter - what an exporter can do beyond its dma_buf_ops
 *
 * Registered once for all dma-bufs with the same &dma_buf_ops. All callbacks are
 * optional, @begin_range and @end_range come together. They run in process
 * context under no lock of the framework, which keeps the dma-buf alive.
 * Ranges are first and last byte; the last may lie behind the end of the buffer.
 */
struct dmabuf_sync_exporter {
	/** @dma_buf_ops: how its dma-bufs are known */
	const struct dma_buf_ops *dma_buf_ops;
	/**
	 * @begin_range: called instead of begin_cpu_access: the CPU is going to
	 * read (DMA_FROM_DEVICE) or write (DMA_BIDIRECTIONAL) these bytes.
	 * Devices may use the others meanwhile, and their fences are none of its
	 * business. Ranges begun may overlap if their directions differ. An error
	 * fails the lock.
	 */
	int (*begin_range)(struct dma_buf *dmabuf, loff_t first, loff_t last,
			   enum dma_data_direction dir);
	/**
	 * @end_range: undoes @begin_range, perhaps part by part; what was begun
	 * for writing may be ended while the CPU goes on reading it.
	 */
	void (*end_range)(struct dma_buf *dmabuf, loff_t first, loff_t last,
			  enum dma_data_direction dir);
	/**
	 * @start_dma: dma_buf_attachment_start_dma(): the CPU is off the buffer;
	 * bring the attachment's mapping up to date. An error fails it.
	 */
	int (*start_dma)(struct dma_buf_attachment *attach, enum dma_data_direction dir);
	/** @end_dma: dma_buf_attachment_end_dma(): the device is through. */
	void (*end_dma)(struct dma_buf_attachment *attach);
	/**
	 * @released: an owner has lost these bytes, or the right to write them,
	 * and nobody who conflicts has got them yet: take away what was given out
	 * because of dmabuf_sync_cpu_may_access().
	 */
	void (*released)(struct dma_buf *dmabuf, loff_t first, loff_t last);
	/** @node: the framework's */
	struct list_head node;
};

int dmabuf_sync_register_exporter(struct dmabuf_sync_exporter *exporter);
void dmabuf_sync_unregister_exporter(struct dmabuf_sync_exporter *exporter);
bool dmabuf_sync_cpu_may_access(struct dma_buf *dmabuf, loff_t first, loff_t last, bool write);

bool dmabuf_sync_is_supported(void);

struct dmabuf_sync *dmabuf_sync_init(const char *name, const struct dmabuf_sync_ops *ops,
				     void *priv);
void dmabuf_sync_hold(struct dmabuf_sync *sync);
void dmabuf_sync_fini(struct dmabuf_sync *sync);
void dmabuf_sync_flush(void);

int dmabuf_sync_get(struct dmabuf_sync *sync, struct dma_buf *dmabuf, unsigned int type);
int dmabuf_sync_get_range(struct dmabuf_sync *sync, struct dma_buf *dmabuf, unsigned int type,
			  u64 start, u64 length);
int dmabuf_sync_get_resv(struct dmabuf_sync *sync, struct dma_resv *resv, unsigned int type);
int dmabuf_sync_put(struct dmabuf_sync *sync, struct dma_buf *dmabuf);
int dmabuf_sync_put_all(struct dmabuf_sync *sync);

int dmabuf_sync_lock(struct dmabuf_sync *sync);
int dmabuf_sync_trylock(struct dmabuf_sync *sync);
int dmabuf_sync_unlock(struct dmabuf_sync *sync);
bool dmabuf_sync_overdue(struct dmabuf_sync *sync);

int dmabuf_sync_single_lock(struct dma_buf *dmabuf, unsigned int type, bool wait);
int dmabuf_sync_single_unlock(struct dma_buf *dmabuf);

int dmabuf_sync_add_fence(struct dmabuf_sync *sync, struct dma_fence *fence);
int dmabuf_sync_set_device(struct dmabuf_sync *sync, const struct device *device);
int dmabuf_sync_set_explicit(struct dmabuf_sync *sync, bool explicit);
int dmabuf_sync_submit(struct dmabuf_sync *sync, dmabuf_sync_granted_t granted);
void dmabuf_sync_running(struct dmabuf_sync *sync);
void dmabuf_sync_done(struct dmabuf_sync *sync, int err);
int dmabuf_sync_cancel(struct dmabuf_sync *sync);
int dmabuf_sync_wait_granted(struct dmabuf_sync *sync);
int dmabuf_sync_wait_granted_killable(struct dmabuf_sync *sync);
void dmabuf_sync_wait_done(struct dmabuf_sync *sync);
struct dma_fence *dmabuf_sync_fence(struct dmabuf_sync *sync);
struct file *dmabuf_sync_job_file(struct dmabuf_sync *sync);

int dma_buf_attachment_start_dma(struct dma_buf_attachment *attach, enum dma_data_direction dir);
void dma_buf_attachment_end_dma(struct dma_buf_attachment *attach);

#endif /* _LINUX_DMABUF_SYNC_H */
