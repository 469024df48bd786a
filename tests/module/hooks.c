// SPDX-License-Identifier: GPL-2.0-only
/*
 * dsync_test: the hooks of an exporter, which write down that they were called.
 */
#include <linux/kernel.h>
#include <linux/spinlock.h>

#include "dsync_test.h"

static DEFINE_SPINLOCK(hooks_lock);
static struct dsync_test_hooks seen;
static size_t length;

static void called(const char *hook, loff_t first, loff_t last, int direction)
{
	spin_lock(&hooks_lock);
	length += scnprintf(seen.calls + length, sizeof(seen.calls) - length, "%s %lld %lld %d\n",
			    hook, first, last, direction);
	spin_unlock(&hooks_lock);
}

static int hook_begin_range(struct dma_buf *dmabuf, loff_t first, loff_t last,
			    enum dma_data_direction dir)
{
	called("begin", first, last, dir);
	return 0;
}

static void hook_end_range(struct dma_buf *dmabuf, loff_t first, loff_t last,
			   enum dma_data_direction dir)
{
	called("end", first, last, dir);
}

static void hook_released(struct dma_buf *dmabuf, loff_t first, loff_t last)
{
	called("released", first, last, DMA_NONE);
}

static struct dmabuf_sync_exporter hooks = {
	.begin_range = hook_begin_range,
	.end_range = hook_end_range,
	.released = hook_released,
};

/* Of the dma-bufs that dsync_exporter makes with hooks. */
int hooks_register(void)
{
	hooks.dma_buf_ops = dsync_exporter_hooked_ops();
	return dmabuf_sync_register_exporter(&hooks);
}

void hooks_unregister(void)
{
	dmabuf_sync_unregister_exporter(&hooks);
}

/* The calls so far, which are forgotten. */
void hooks_take(struct dsync_test_hooks *taken)
{
	spin_lock(&hooks_lock);
	*taken = seen;
	memset(&seen, 0, sizeof(seen));
	length = 0;
	spin_unlock(&hooks_lock);
}
