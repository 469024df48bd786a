// SPDX-License-Identifier: GPL-2.0-only
/*
 * vblit: the hardware, played by a thread.
 */
#include <linux/dma-direct.h>
#include <linux/dma-fence.h>
#include <linux/highmem.h>
#include <linux/hrtimer.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/scatterlist.h>

#include "vblit.h"

/**
 * DOC: the engine
 *
 * Hardware knows nothing but DMA addresses, and so does this thread: it walks
 * the DMA side of a scatterlist and touches the memory that an address leads
 * to. With swiotlb=force that is the bounce buffer, exactly as for a device
 * that cannot reach the pages.
 *
 * Started jobs are executed one after the other. While a job runs the thread is
 * on the way to signal a fence: it allocates nothing and takes no lock but
 * engine_lock.
 */

/* What a fault does to the jobs that start while the parameter is set. */
enum { FAULT_NONE, FAULT_HANG, FAULT_ERROR, FAULT_MAX = FAULT_ERROR };

static unsigned long bytes_per_second;
static unsigned int fault;

static int set_fault(const char *val, const struct kernel_param *kp)
{
	return param_set_uint_minmax(val, kp, FAULT_NONE, FAULT_MAX);
}

static const struct kernel_param_ops fault_ops = {
	.set = set_fault,
	.get = param_get_uint,
};

module_param(bytes_per_second, ulong, 0644);
MODULE_PARM_DESC(bytes_per_second, "bytes that the engine writes in a second; 0, the default, for as many as it can");
module_param_cb(fault, &fault_ops, &fault, 0644);
MODULE_PARM_DESC(fault, "jobs that start from now on: 0 work, 1 hang until the watchdog stops them, 2 end with EIO");

/* Most that is written between two looks at the clock and at vblit_job.stopped. */
#define MAX_CHUNK ((u64)64 * 1024)

/**
 * struct run - a job being executed
 * @job: the job
 * @speed: bytes_per_second at the last look
 * @began: when it became @speed
 * @written: bytes since then
 * @chunk: bytes until the next look
 */
struct run {
	struct vblit_job *job;
	unsigned long speed;
	ktime_t began;
	u64 written;
	u64 chunk;
};

/**
 * struct cursor - a position in the DMA addresses of a buffer
 * @vdev: device
 * @sgt: mapping
 * @sg: segment that was used last
 * @start: byte of the buffer at which @sg starts
 */
struct cursor {
	struct vblit_device *vdev;
	struct sg_table *sgt;
	struct scatterlist *sg;
	u64 start;
};

static void cursor_init(struct cursor *cursor, struct vblit_device *vdev,
			struct vblit_attachment *attachment)
{
	cursor->vdev = vdev;
	cursor->sgt = attachment->sgt;
	cursor->sg = attachment->sgt->sgl;
	cursor->start = 0;
}

/* The physical address behind a byte of the buffer, and how far it is good for. */
static phys_addr_t cursor_seek(struct cursor *cursor, u64 offset, size_t *length)
{
	phys_addr_t phys;

	if (offset < cursor->start) {
		cursor->sg = cursor->sgt->sgl;
		cursor->start = 0;
	}
	while (offset - cursor->start >= sg_dma_len(cursor->sg)) {
		cursor->start += sg_dma_len(cursor->sg);
		cursor->sg = sg_next(cursor->sg);
	}
	offset -= cursor->start;
	phys = dma_to_phys(cursor->vdev->dev, sg_dma_address(cursor->sg) + offset);
	*length = min_t(u64, *length, sg_dma_len(cursor->sg) - offset);
	*length = min_t(size_t, *length, PAGE_SIZE - offset_in_page(phys));
	return phys;
}

static void *map_phys(phys_addr_t phys)
{
	return kmap_local_page(pfn_to_page(PHYS_PFN(phys))) + offset_in_page(phys);
}

static void copy_bytes(struct cursor *dst, u64 dst_offset, struct cursor *src, u64 src_offset,
		       u64 length)
{
	while (length) {
		size_t part = min_t(u64, length, PAGE_SIZE);
		phys_addr_t from = cursor_seek(src, src_offset, &part);
		phys_addr_t to = cursor_seek(dst, dst_offset, &part);
		void *from_address = map_phys(from);
		void *to_address = map_phys(to);

		memcpy(to_address, from_address, part);
		kunmap_local(to_address);
		kunmap_local(from_address);
		dst_offset += part;
		src_offset += part;
		length -= part;
	}
}

/* @phase: which byte of the pixel the first one is. */
static void fill_bytes(struct cursor *dst, u64 offset, u64 length, u32 color,
		       unsigned int bytes_per_pixel, unsigned int phase)
{
	while (length) {
		size_t part = min_t(u64, length, PAGE_SIZE), i;
		u8 *to = map_phys(cursor_seek(dst, offset, &part));

		if (bytes_per_pixel == 1) {
			memset(to, color, part);
		} else {
			for (i = 0; i < part; i++) {
				to[i] = color >> (8 * phase);
				if (++phase == bytes_per_pixel)
					phase = 0;
			}
		}
		kunmap_local(to);
		offset += part;
		length -= part;
	}
}

static bool stopped(struct vblit_job *job)
{
	return READ_ONCE(job->stopped);
}

/* Take the time that the bytes written so far take. False if told to stop. */
static bool pace(struct run *run)
{
	unsigned long speed = READ_ONCE(bytes_per_second);
	struct vblit_device *vdev = run->job->vdev;
	ktime_t due;
	s64 left;

	cond_resched();
	if (run->speed) {
		due = ktime_add_ns(run->began, mul_u64_u64_div_u64(run->written, NSEC_PER_SEC,
								   run->speed));
		left = ktime_to_ns(ktime_sub(due, ktime_get()));
		if (left > 0)
			wait_event_hrtimeout(vdev->engine_wait, stopped(run->job),
					     ns_to_ktime(left));
	}
	if (speed != run->speed) {
		run->speed = speed;
		run->began = ktime_get();
		run->written = 0;
	}
	/* At a low speed a hundred looks a second, so that a new one counts soon. */
	run->chunk = speed ? clamp_t(u64, speed / 100, 1, MAX_CHUNK) : MAX_CHUNK;
	return !stopped(run->job);
}

static bool account(struct run *run, u64 bytes)
{
	run->written += bytes;
	run->chunk -= bytes;
	return run->chunk || pace(run);
}

/* A COPY, or a row of a rectangle. */
static bool run_bytes(struct run *run, struct cursor *dst, u64 to, struct cursor *src, u64 from,
		      u64 length)
{
	u64 done, part;

	for (done = 0; done < length; done += part) {
		part = min(length - done, run->chunk);
		copy_bytes(dst, to + done, src, from + done, part);
		if (!account(run, part))
			return false;
	}
	return true;
}

static bool run_fill(struct run *run, struct cursor *dst, u64 to, u64 length, u32 color,
		     unsigned int bytes_per_pixel)
{
	u64 done, part;
	u32 phase = 0;

	for (done = 0; done < length; done += part) {
		part = min(length - done, run->chunk);
		fill_bytes(dst, to + done, part, color, bytes_per_pixel, phase);
		phase = (phase + (u32)part) % bytes_per_pixel;
		if (!account(run, part))
			return false;
	}
	return true;
}

static u64 row_offset(const struct vblit_rect *rect, u32 row)
{
	return rect->offset + (u64)(rect->y + (u64)row) * rect->pitch +
	       (u64)rect->x * rect->bytes_per_pixel;
}

/* FILL (without @src) and BLIT. */
static bool run_rect(struct run *run, const struct vblit_step *step, struct cursor *dst,
		     struct cursor *src)
{
	const struct vblit_rect *to = &step->op.dst;
	u64 length = (u64)to->width * to->bytes_per_pixel;
	bool go_on = true;
	u32 row;

	for (row = 0; go_on && row < to->height; row++) {
		u64 offset = row_offset(to, row);

		if (src)
			go_on = run_bytes(run, dst, offset, src, row_offset(&step->op.src, row),
					  length);
		else
			go_on = run_fill(run, dst, offset, length, step->op.color,
					 to->bytes_per_pixel);
	}
	return go_on;
}

static bool run_step(struct run *run, const struct vblit_step *step)
{
	struct vblit_device *vdev = run->job->vdev;
	struct cursor src, dst;

	cursor_init(&dst, vdev, run->job->dst);
	if (step->src)
		cursor_init(&src, vdev, step->src);
	if (step->op.op == VBLIT_OP_COPY)
		return run_bytes(run, &dst, step->op.dst.offset, &src, step->op.src.offset,
				 step->op.length);
	return run_rect(run, step, &dst, step->src ? &src : NULL);
}

/* Returns false if the job was stopped: it is not ours any more then. */
static bool run_job(struct vblit_job *job, int *err)
{
	struct run run = { .job = job };
	unsigned int i;

	*err = 0;
	switch (READ_ONCE(fault)) {
	case FAULT_HANG:
		wait_event_idle(job->vdev->engine_wait, stopped(job));
		return false;
	case FAULT_ERROR:
		*err = -EIO;
		return true;
	}
	if (!pace(&run))
		return false;
	for (i = 0; i < job->step_count; i++)
		if (!run_step(&run, &job->steps[i]))
			return false;
	return pace(&run);
}

static struct vblit_job *next_job(struct vblit_device *vdev)
{
	struct vblit_job *job;

	spin_lock(&vdev->engine_lock);
	job = list_first_entry_or_null(&vdev->started, struct vblit_job, engine_node);
	if (job)
		list_del_init(&job->engine_node);
	vdev->running = job;
	spin_unlock(&vdev->engine_lock);
	if (job)
		dmabuf_sync_running(job->sync);
	return job;
}

static void let_go(struct vblit_device *vdev)
{
	spin_lock(&vdev->engine_lock);
	vdev->running = NULL;
	spin_unlock(&vdev->engine_lock);
	wake_up_all(&vdev->engine_wait);
}

static bool engine_has_work(struct vblit_device *vdev)
{
	return !list_empty_careful(&vdev->started) || kthread_should_stop();
}

static int engine_thread(void *data)
{
	struct vblit_device *vdev = data;
	struct vblit_job *job;
	bool cookie;
	int err;

	while (!kthread_should_stop()) {
		wait_event_idle(vdev->engine_wait, engine_has_work(vdev));
		cookie = dma_fence_begin_signalling();
		while ((job = next_job(vdev))) {
			struct dmabuf_sync *sync = job->sync;

			/*
			 * A job that was stopped is ended by who stopped it. Any
			 * other may be gone after this, but not before we let go:
			 * whoever stops it waits for that.
			 */
			if (run_job(job, &err))
				dmabuf_sync_done(sync, err);
			let_go(vdev);
		}
		dma_fence_end_signalling(cookie);
	}
	return 0;
}

/**
 * vblit_engine_run - execute a job after those that were given before
 * @job: started job
 */
void vblit_engine_run(struct vblit_job *job)
{
	struct vblit_device *vdev = job->vdev;

	spin_lock(&vdev->engine_lock);
	/* With a short watchdog it may have been stopped before it got here. */
	if (!job->stopped)
		list_add_tail(&job->engine_node, &vdev->started);
	spin_unlock(&vdev->engine_lock);
	wake_up_all(&vdev->engine_wait);
}

static bool has_let_go(struct vblit_device *vdev, struct vblit_job *job)
{
	bool gone;

	spin_lock(&vdev->engine_lock);
	gone = vdev->running != job;
	spin_unlock(&vdev->engine_lock);
	return gone;
}

/**
 * vblit_engine_drop - make the engine let go of a job
 * @job: job given to vblit_engine_run()
 *
 * On return the engine does not touch the memory of the job any more. It may
 * have ended by itself before.
 */
void vblit_engine_drop(struct vblit_job *job)
{
	struct vblit_device *vdev = job->vdev;

	spin_lock(&vdev->engine_lock);
	WRITE_ONCE(job->stopped, true);
	list_del_init(&job->engine_node);
	spin_unlock(&vdev->engine_lock);
	wake_up_all(&vdev->engine_wait);
	wait_event(vdev->engine_wait, has_let_go(vdev, job));
}

/**
 * vblit_engine_start - switch the hardware on
 * @vdev: device
 *
 * Returns: 0 or -ENOMEM.
 */
int vblit_engine_start(struct vblit_device *vdev)
{
	vdev->engine = kthread_run(engine_thread, vdev, "vblit");
	return PTR_ERR_OR_ZERO(vdev->engine);
}

/**
 * vblit_engine_stop - switch the hardware off
 * @vdev: device without jobs
 */
void vblit_engine_stop(struct vblit_device *vdev)
{
	kthread_stop(vdev->engine);
}
