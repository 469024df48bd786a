// SPDX-License-Identifier: GPL-2.0-only
/*
 * dsync_test: sync objects and single buffers.
 */
#include <linux/dma-buf.h>
#include <linux/err.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "dsync_test.h"

struct client *client_open(void)
{
	struct client *client = kzalloc(sizeof(*client), GFP_KERNEL);

	if (!client)
		return NULL;
	kref_init(&client->ref);
	init_waitqueue_head(&client->wait);
	job_init(client);
	return client;
}

static void release_client(struct kref *ref)
{
	kfree(container_of(ref, struct client, ref));
}

void client_put(struct client *client)
{
	kref_put(&client->ref, release_client);
}

long client_init(struct client *client, unsigned int flags)
{
	const struct dmabuf_sync_ops *ops = &client->ops;
	struct dmabuf_sync *sync;

	if (client->sync)
		return -EINVAL;
	client->flags = flags;
	job_init_ops(client);
	if (flags & DSYNC_TEST_NO_OPS)
		ops = NULL;
	sync = dmabuf_sync_init("dsync_test", ops, client);
	if (IS_ERR(sync))
		return PTR_ERR(sync);
	/* Given back by the callback. */
	if (ops) {
		__module_get(THIS_MODULE);
		kref_get(&client->ref);
	}
	client->sync = sync;
	return 0;
}

/* The last reference takes the object with it, locked or not: that is one of the tests. */
long client_fini(struct client *client)
{
	struct dmabuf_sync *sync = client->sync;

	if (client->extra) {
		client->extra--;
	} else {
		client->sync = NULL;
		client->locked = false;
	}
	dmabuf_sync_fini(sync);
	return 0;
}

/* As a driver that cleans up after itself. */
void client_close(struct client *client)
{
	job_close(client);
	if (client->single) {
		dmabuf_sync_single_unlock(client->single);
		dma_buf_put(client->single);
	}
	if (client->locked)
		dmabuf_sync_unlock(client->sync);
	while (client->sync)
		client_fini(client);
	client_put(client);
}

static long single_lock(struct client *client, struct dma_buf *dmabuf, int value)
{
	unsigned int type = value & ~(DSYNC_TEST_WAIT | DSYNC_TEST_TIDY);
	long err;

	if ((value & DSYNC_TEST_TIDY) && client->single)
		return -EINVAL;
	err = dmabuf_sync_single_lock(dmabuf, type, value & DSYNC_TEST_WAIT);
	if (!err && (value & DSYNC_TEST_TIDY)) {
		get_dma_buf(dmabuf);
		client->single = dmabuf;
	}
	return err;
}

static long with_dmabuf(struct client *client, unsigned int cmd, struct dma_buf *dmabuf,
			int value)
{
	switch (cmd) {
	case DSYNC_TEST_GET:
		return dmabuf_sync_get(client->sync, dmabuf, value);
	case DSYNC_TEST_GET_RANGE:
		return dmabuf_sync_get_range(client->sync, dmabuf, value & 0xff,
					     DSYNC_TEST_FIRST(value) * PAGE_SIZE,
					     DSYNC_TEST_PAGES(value) * PAGE_SIZE);
	case DSYNC_TEST_MAY_ACCESS:
		return dmabuf_sync_cpu_may_access(dmabuf, DSYNC_TEST_FIRST(value) * PAGE_SIZE,
						  (DSYNC_TEST_FIRST(value) +
						   DSYNC_TEST_PAGES(value)) * PAGE_SIZE - 1,
						  value & 1);
	case DSYNC_TEST_PUT:
		return dmabuf_sync_put(client->sync, dmabuf);
	case DSYNC_TEST_SINGLE_LOCK:
		return single_lock(client, dmabuf, value);
	case DSYNC_TEST_SINGLE_UNLOCK:
		return dmabuf_sync_single_unlock(dmabuf);
	default:
		return -ENOTTY;
	}
}

static long with_fd(struct client *client, unsigned int cmd, const struct dsync_test_call *call)
{
	struct dma_buf *dmabuf = dma_buf_get(call->fd);
	long ret;

	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	ret = with_dmabuf(client, cmd, dmabuf, call->value);
	dma_buf_put(dmabuf);
	return ret;
}

static long start_dma(struct client *client, const struct dsync_test_call *call)
{
	struct dma_buf *dmabuf;
	long err;

	if (client->attach)
		return -EINVAL;
	dmabuf = dma_buf_get(call->fd);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	client->attach = dma_buf_attach(dmabuf, dsync_test_device);
	if (IS_ERR(client->attach)) {
		err = PTR_ERR(client->attach);
		goto put;
	}
	client->sgt = dma_buf_map_attachment_unlocked(client->attach, DMA_BIDIRECTIONAL);
	if (IS_ERR(client->sgt)) {
		err = PTR_ERR(client->sgt);
		goto detach;
	}
	err = dma_buf_attachment_start_dma(client->attach, call->value);
	if (err)
		goto unmap;
	return 0;

unmap:
	dma_buf_unmap_attachment_unlocked(client->attach, client->sgt, DMA_BIDIRECTIONAL);
detach:
	dma_buf_detach(dmabuf, client->attach);
put:
	client->attach = NULL;
	dma_buf_put(dmabuf);
	return err;
}

/* The value is how often the DMA is ended. */
static long end_dma(struct client *client, const struct dsync_test_call *call)
{
	struct dma_buf *dmabuf;
	int i;

	if (!client->attach)
		return -EINVAL;
	for (i = 0; i < call->value; i++)
		dma_buf_attachment_end_dma(client->attach);
	dmabuf = client->attach->dmabuf;
	dma_buf_unmap_attachment_unlocked(client->attach, client->sgt, DMA_BIDIRECTIONAL);
	dma_buf_detach(dmabuf, client->attach);
	client->attach = NULL;
	dma_buf_put(dmabuf);
	return 0;
}

static long get_resv(struct client *client, const struct dsync_test_call *call)
{
	struct dma_resv *resv = dsync_exporter_resv(call->fd);

	return resv ? dmabuf_sync_get_resv(client->sync, resv, call->value) : -EINVAL;
}

static long with_sync(struct client *client, unsigned int cmd,
		      const struct dsync_test_call *call)
{
	int err;

	switch (cmd) {
	case DSYNC_TEST_HOLD:
		dmabuf_sync_hold(client->sync);
		client->extra++;
		return 0;
	case DSYNC_TEST_FINI:
		return client_fini(client);
	case DSYNC_TEST_GET:
	case DSYNC_TEST_GET_RANGE:
	case DSYNC_TEST_PUT:
		return with_fd(client, cmd, call);
	case DSYNC_TEST_GET_RESV:
		return get_resv(client, call);
	case DSYNC_TEST_PUT_ALL:
		return dmabuf_sync_put_all(client->sync);
	case DSYNC_TEST_LOCK:
	case DSYNC_TEST_TRYLOCK:
		err = cmd == DSYNC_TEST_LOCK ? dmabuf_sync_lock(client->sync) :
					       dmabuf_sync_trylock(client->sync);
		if (!err)
			client->locked = true;
		return err;
	case DSYNC_TEST_UNLOCK:
		client->locked = false;
		return dmabuf_sync_unlock(client->sync);
	case DSYNC_TEST_OVERDUE:
		return dmabuf_sync_overdue(client->sync);
	default:
		return job_call(client, cmd, call);
	}
}

long client_call(struct client *client, unsigned int cmd, const struct dsync_test_call *call)
{
	switch (cmd) {
	case DSYNC_TEST_SINGLE_LOCK:
	case DSYNC_TEST_SINGLE_UNLOCK:
	case DSYNC_TEST_MAY_ACCESS:
		return with_fd(client, cmd, call);
	case DSYNC_TEST_START_DMA:
		return start_dma(client, call);
	case DSYNC_TEST_END_DMA:
		return end_dma(client, call);
	default:
		return client->sync ? with_sync(client, cmd, call) : -EINVAL;
	}
}
