// SPDX-License-Identifier: GPL-2.0-only
/*
 * vblit: engines, and which job gets which.
 */
#include <linux/dma-fence.h>
#include <linux/dma-mapping.h>
#include <linux/kthread.h>
#include <linux/slab.h>

#include "vblit.h"

/**
 * DOC: engines
 *
 * A device has one queue and one or more engines. A job whose turn it is goes to
 * the first engine that has nothing to do; if there is none, the next one to be
 * idle takes it. So jobs on different buffers run at once, while jobs on the
 * same buffer wait for each other's fences before they get here at all.
 *
 * All engines share the device, hence one mapping of each buffer: where DMA is
 * bounced, two mappings would be two copies of the buffer.
 *
 * While a job runs the thread is on the way to signal a fence: it allocates
 * nothing and takes no lock but engine_lock.
 */

/* Give the engine its next job. The lock is held. */
static void assign(struct vblit_engine *engine, struct vblit_job *job)
{
	engine->job = job;
	engine->finished = false;
	if (job)
		job->engine = engine;
}

static void let_go(struct vblit_engine *engine)
{
	struct vblit_device *vdev = engine->vdev;
	struct vblit_job *job;

	spin_lock_irq(&vdev->engine_lock);
	job = list_first_entry_or_null(&vdev->started, struct vblit_job, engine_node);
	if (job)
		list_del_init(&job->engine_node);
	assign(engine, job);
	spin_unlock_irq(&vdev->engine_lock);
	wake_up_all(&engine->wait);
}

/**
 * vblit_engine_interrupt - the engine has raised its interrupt
 * @engine: engine
 *
 * Ends its job if the status register says that it has finished.
 */
void vblit_engine_interrupt(struct vblit_engine *engine)
{
	struct vblit_device *vdev = engine->vdev;
	struct vblit_job *job = NULL;
	unsigned long flags;
	int err = 0;

	spin_lock_irqsave(&vdev->engine_lock, flags);
	if (engine->finished) {
		job = engine->job;
		err = engine->status;
		engine->finished = false;
	} else {
		engine->spurious++;
	}
	spin_unlock_irqrestore(&vdev->engine_lock, flags);
	/* It stays until the engine lets go of it: whoever stops it waits for that. */
	if (job)
		dmabuf_sync_done(job->sync, err);
}

static void finish(struct vblit_engine *engine, int err)
{
	spin_lock_irq(&engine->vdev->engine_lock);
	engine->finished = true;
	engine->status = err;
	spin_unlock_irq(&engine->vdev->engine_lock);
	vblit_engine_interrupt(engine);
}

static int engine_thread(void *data)
{
	struct vblit_engine *engine = data;
	struct vblit_job *job;
	bool cookie;
	int err;

	while (!kthread_should_stop()) {
		wait_event_idle(engine->wait, READ_ONCE(engine->job) || kthread_should_stop());
		cookie = dma_fence_begin_signalling();
		while ((job = READ_ONCE(engine->job))) {
			dmabuf_sync_running(job->sync);
			/* A job that was stopped is ended by who stopped it. */
			if (vblit_run(engine, job, &err))
				finish(engine, err);
			let_go(engine);
		}
		dma_fence_end_signalling(cookie);
	}
	return 0;
}

/**
 * vblit_engine_run - execute a job on the first engine that is free
 * @job: started job
 */
void vblit_engine_run(struct vblit_job *job)
{
	struct vblit_device *vdev = job->vdev;
	struct vblit_engine *engine = NULL;
	unsigned int i;

	spin_lock_irq(&vdev->engine_lock);
	for (i = 0; i < vdev->engine_count && !engine; i++)
		if (!vdev->engines[i]->job)
			engine = vdev->engines[i];
	if (engine)
		assign(engine, job);
	else
		list_add_tail(&job->engine_node, &vdev->started);
	spin_unlock_irq(&vdev->engine_lock);
	if (engine)
		wake_up_all(&engine->wait);
}

static bool has_let_go(struct vblit_engine *engine, struct vblit_job *job)
{
	bool gone;

	spin_lock_irq(&engine->vdev->engine_lock);
	gone = engine->job != job;
	spin_unlock_irq(&engine->vdev->engine_lock);
	return gone;
}

/**
 * vblit_engine_drop - make the engine let go of a job
 * @job: job that an engine has begun with
 *
 * On return the engine does not touch the memory of the job any more. It may
 * have ended by itself before.
 */
void vblit_engine_drop(struct vblit_job *job)
{
	struct vblit_device *vdev = job->vdev;
	struct vblit_engine *engine;

	spin_lock_irq(&vdev->engine_lock);
	WRITE_ONCE(job->stopped, true);
	engine = job->engine;
	spin_unlock_irq(&vdev->engine_lock);
	wake_up_all(&engine->wait);
	wait_event(engine->wait, has_let_go(engine, job));
}

/**
 * vblit_engine_start - switch an engine on
 * @vdev: device
 * @index: number of the engine
 *
 * Returns: the engine, or an ERR_PTR.
 */
struct vblit_engine *vblit_engine_start(struct vblit_device *vdev, unsigned int index)
{
	struct vblit_engine *engine;
	int err = -ENOMEM;

	engine = kzalloc(sizeof(*engine), GFP_KERNEL);
	if (!engine)
		return ERR_PTR(err);
	engine->vdev = vdev;
	engine->index = index;
	init_waitqueue_head(&engine->wait);
	vblit_params_apply(engine);
	engine->scratch = dma_alloc_coherent(vdev->dev, VBLIT_SCRATCH, &engine->scratch_dma,
					     GFP_KERNEL);
	if (!engine->scratch)
		goto free;
	engine->thread = kthread_run(engine_thread, engine, "%s/%u", vdev->backend->name, index);
	if (IS_ERR(engine->thread)) {
		err = PTR_ERR(engine->thread);
		goto free_scratch;
	}
	err = vblit_engine_show(engine);
	if (err)
		goto stop_thread;
	return engine;

stop_thread:
	kthread_stop(engine->thread);
free_scratch:
	dma_free_coherent(vdev->dev, VBLIT_SCRATCH, engine->scratch, engine->scratch_dma);
free:
	kfree(engine);
	return ERR_PTR(err);
}

/**
 * vblit_engine_stop - switch an engine off
 * @engine: engine of a device without jobs
 */
void vblit_engine_stop(struct vblit_engine *engine)
{
	vblit_engine_hide(engine);
	kthread_stop(engine->thread);
	dma_free_coherent(engine->vdev->dev, VBLIT_SCRATCH, engine->scratch, engine->scratch_dma);
	kfree(engine);
}
