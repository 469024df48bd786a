// SPDX-License-Identifier: GPL-2.0-only
/*
 * dsync_test: reservation objects of its own, with any number of dma-bufs on each.
 */
#include <linux/delay.h>
#include <linux/dma-buf.h>
#include <linux/dma-resv.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/signal.h>

#include "dsync_test.h"

/* They outlive the dma-bufs, each of which has a reference to the module. */
static struct dma_resv resvs[SHARED_RESVS];

void shared_init(void)
{
	unsigned int i;

	for (i = 0; i < SHARED_RESVS; i++)
		dma_resv_init(&resvs[i]);
}

void shared_exit(void)
{
	unsigned int i;

	for (i = 0; i < SHARED_RESVS; i++)
		dma_resv_fini(&resvs[i]);
}

struct dma_resv *shared_resv(unsigned int index)
{
	return index < SHARED_RESVS ? &resvs[index] : NULL;
}

/* There is no memory behind it: only its locks are of interest. */
static struct sg_table *buffer_map(struct dma_buf_attachment *attach,
				   enum dma_data_direction dir)
{
	return ERR_PTR(-ENODEV);
}

static void buffer_unmap(struct dma_buf_attachment *attach, struct sg_table *sgt,
			 enum dma_data_direction dir)
{
}

static void buffer_release(struct dma_buf *dmabuf)
{
}

static const struct dma_buf_ops buffer_ops = {
	.map_dma_buf = buffer_map,
	.unmap_dma_buf = buffer_unmap,
	.release = buffer_release,
};

/* As long as a test says, and for somebody who is killed no longer than that. */
static bool slow_begin, slow_end;

module_param(slow_begin, bool, 0600);
MODULE_PARM_DESC(slow_begin, "begin_cpu_access does not return, except for a signal");
module_param(slow_end, bool, 0600);
MODULE_PARM_DESC(slow_end, "end_cpu_access does not return");

static atomic_t in_begin, in_end;

u32 shared_in_begin(void)
{
	return atomic_read(&in_begin);
}

u32 shared_in_end(void)
{
	return atomic_read(&in_end);
}

static int cached_begin(struct dma_buf *dmabuf, enum dma_data_direction dir)
{
	int err = 0;

	atomic_inc(&in_begin);
	while (!err && READ_ONCE(slow_begin)) {
		msleep_interruptible(1);
		if (signal_pending(current))
			err = -ERESTARTSYS;
	}
	atomic_dec(&in_begin);
	return err;
}

static int cached_end(struct dma_buf *dmabuf, enum dma_data_direction dir)
{
	atomic_inc(&in_end);
	while (READ_ONCE(slow_end))
		usleep_range(1000, 2000);
	atomic_dec(&in_end);
	return 0;
}

static const struct dma_buf_ops cached_ops = {
	.map_dma_buf = buffer_map,
	.unmap_dma_buf = buffer_unmap,
	.release = buffer_release,
	.begin_cpu_access = cached_begin,
	.end_cpu_access = cached_end,
};

long shared_export(unsigned int index, bool cached)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	struct dma_buf *dmabuf;
	int fd;

	info.ops = cached ? &cached_ops : &buffer_ops;
	info.size = 16 * PAGE_SIZE;
	info.flags = O_RDWR;
	info.resv = shared_resv(index);
	/* Not NULL; it belongs to nobody. */
	info.priv = &resvs;
	if (!info.resv)
		return -EINVAL;
	dmabuf = dma_buf_export(&info);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0) {
		dma_buf_put(dmabuf);
		return fd;
	}
	dma_buf_fd_install(dmabuf, fd);
	return fd;
}
