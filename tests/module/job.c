// SPDX-License-Identifier: GPL-2.0-only
/*
 * dsync_test: DMA jobs that do nothing until the test says that they are done.
 */
#include <linux/delay.h>
#include <linux/dma-fence.h>
#include <linux/dma-resv.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/module.h>
#include <linux/sync_file.h>

#include "dsync_test.h"

static void set_running(struct client *client, struct dmabuf_sync *sync)
{
	spin_lock_irq(&client->wait.lock);
	client->running = sync;
	spin_unlock_irq(&client->wait.lock);
}

static void saw(struct client *client, u32 *count, char initial)
{
	unsigned long flags;
	size_t length;

	spin_lock_irqsave(&client->wait.lock, flags);
	(*count)++;
	length = strnlen(client->state.order, sizeof(client->state.order));
	if (length < sizeof(client->state.order) - 1)
		client->state.order[length] = initial;
	wake_up_all_locked(&client->wait);
	spin_unlock_irqrestore(&client->wait.lock, flags);
}

/* As long as a test says. */
static bool slow_prepare;

module_param(slow_prepare, bool, 0600);
MODULE_PARM_DESC(slow_prepare, "prepare of a job does not return");

static int job_prepare(struct dmabuf_sync *sync, void *priv)
{
	struct client *client = priv;

	saw(client, &client->state.prepared, 'p');
	while (READ_ONCE(slow_prepare))
		usleep_range(1000, 2000);
	return client->flags & DSYNC_TEST_BAD_PREPARE ? -ENOSPC : 0;
}

static void job_granted(struct dmabuf_sync *sync, void *priv, int err)
{
	struct client *client = priv;

	WRITE_ONCE(client->state.grant_error, err);
	saw(client, &client->state.granted, 'g');
}

static void job_start(struct dmabuf_sync *sync, void *priv)
{
	struct client *client = priv;

	if (client->flags & DSYNC_TEST_SLOW_START)
		msleep(100);
	set_running(client, sync);
	saw(client, &client->state.started, 's');
	if ((client->flags & DSYNC_TEST_QUICK) || READ_ONCE(client->closing))
		dmabuf_sync_done(sync, 0);
}

static void job_stop(struct dmabuf_sync *sync, void *priv)
{
	struct client *client = priv;

	saw(client, &client->state.stopped, 't');
}

static void job_finish(struct dmabuf_sync *sync, void *priv)
{
	struct client *client = priv;

	set_running(client, NULL);
	saw(client, &client->state.finished, 'f');
}

static void job_free(void *priv)
{
	struct client *client = priv;

	saw(client, &client->state.freed, 'F');
	client_put(client);
	/* dsync_test_exit() waits for us to return. */
	module_put(THIS_MODULE);
}

void job_init_ops(struct client *client)
{
	client->ops = (struct dmabuf_sync_ops) {
		.prepare = job_prepare,
		.start = job_start,
		.queues = client->flags & DSYNC_TEST_QUEUES,
		.stop = client->flags & DSYNC_TEST_NO_STOP ? NULL : job_stop,
		.finish = job_finish,
		.free = job_free,
	};
}

static void timer_done(struct timer_list *timer)
{
	struct client *client = container_of(timer, struct client, timer);

	dmabuf_sync_done(client->sync, client->timer_err);
}

void job_init(struct client *client)
{
	timer_setup(&client->timer, timer_done, 0);
}

/* A sync_file, so that the test can look at the fence. */
static long fence_fd(struct client *client)
{
	struct dma_fence *fence = dmabuf_sync_fence(client->sync);
	struct sync_file *sync_file;
	int fd;

	if (IS_ERR(fence))
		return PTR_ERR(fence);
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		goto put_fence;
	sync_file = sync_file_create(fence);
	if (!sync_file) {
		put_unused_fd(fd);
		fd = -ENOMEM;
		goto put_fence;
	}
	fd_install(fd, sync_file->file);
put_fence:
	dma_fence_put(fence);
	return fd;
}

static long job_file_fd(struct client *client)
{
	struct file *file;
	int fd = get_unused_fd_flags(O_CLOEXEC);

	if (fd < 0)
		return fd;
	file = dmabuf_sync_job_file(client->sync);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		return PTR_ERR(file);
	}
	fd_install(fd, file);
	return fd;
}

static long add_fence(struct client *client, int fd)
{
	struct dma_fence *fence = sync_file_get_fence(fd);
	int err;

	if (!fence)
		return -EINVAL;
	err = dmabuf_sync_add_fence(client->sync, fence);
	dma_fence_put(fence);
	return err;
}

/* The memory behind a reservation object is being moved until this fence signals. */
static long add_move(const struct dsync_test_call *call)
{
	struct dma_resv *resv = dsync_exporter_resv(call->value);
	struct dma_fence *fence;
	int err;

	if (!resv)
		return -EINVAL;
	fence = sync_file_get_fence(call->fd);
	if (!fence)
		return -EINVAL;
	dma_resv_lock(resv, NULL);
	err = dma_resv_reserve_fences(resv, 1);
	if (!err)
		dma_resv_add_fence(resv, fence, DMA_RESV_USAGE_KERNEL);
	dma_resv_unlock(resv);
	dma_fence_put(fence);
	return err;
}

/* It is only compared: any three will do. */
static long set_device(struct client *client, int which)
{
	const struct device *devices[] = { NULL, dsync_test_device, dsync_test_device->parent };

	if (which < 0 || which >= ARRAY_SIZE(devices))
		return -EINVAL;
	return dmabuf_sync_set_device(client->sync, devices[which]);
}

long job_call(struct client *client, unsigned int cmd, const struct dsync_test_call *call)
{
	u32 started;

	switch (cmd) {
	case DSYNC_TEST_SUBMIT:
		return dmabuf_sync_submit(client->sync, job_granted);
	case DSYNC_TEST_ADD_FENCE:
		return add_fence(client, call->fd);
	case DSYNC_TEST_ADD_MOVE:
		return add_move(call);
	case DSYNC_TEST_SET_DEVICE:
		return set_device(client, call->value);
	case DSYNC_TEST_SET_EXPLICIT:
		return dmabuf_sync_set_explicit(client->sync, call->value);
	case DSYNC_TEST_RUNNING:
		dmabuf_sync_running(client->sync);
		return 0;
	case DSYNC_TEST_DONE:
		dmabuf_sync_done(client->sync, call->value);
		return 0;
	case DSYNC_TEST_DONE_SOFTIRQ:
		client->timer_err = call->value;
		mod_timer(&client->timer, jiffies + 1);
		return 0;
	case DSYNC_TEST_CANCEL:
		return dmabuf_sync_cancel(client->sync);
	case DSYNC_TEST_WAIT_GRANTED:
		return dmabuf_sync_wait_granted(client->sync);
	case DSYNC_TEST_WAIT_GRANTED_KILLABLE:
		return dmabuf_sync_wait_granted_killable(client->sync);
	case DSYNC_TEST_WAIT_DONE:
		dmabuf_sync_wait_done(client->sync);
		return 0;
	case DSYNC_TEST_FENCE:
		return fence_fd(client);
	case DSYNC_TEST_JOB_FILE:
		return job_file_fd(client);
	case DSYNC_TEST_WAIT_STARTED:
		/* The value is how many have started by then. */
		started = call->value;
		return wait_event_interruptible(client->wait,
						READ_ONCE(client->state.started) >= started);
	default:
		return -ENOTTY;
	}
}

/* End the job that may be there. */
void job_close(struct client *client)
{
	WRITE_ONCE(client->closing, true);
	timer_delete_sync(&client->timer);
	if (client->sync && !dmabuf_sync_cancel(client->sync))
		return;
	/* It may be running although there was a FINI; or start() sees that we are closing. */
	spin_lock_irq(&client->wait.lock);
	if (client->running)
		dmabuf_sync_done(client->running, -ECANCELED);
	spin_unlock_irq(&client->wait.lock);
}
