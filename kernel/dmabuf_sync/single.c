// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmabuf-sync: one buffer, without a sync object of one's own.
 */
#include <linux/dma-buf.h>
#include <linux/export.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "sync.h"

/**
 * DOC: single buffers
 *
 * For drivers that use one buffer at a time. The sync object behind such a
 * lock is found again by what it was locked through, a dma-buf or an
 * attachment. Several readers may hold the same dma-buf like this: an unlock
 * takes the lock of the calling task if it has one, else any; they are alike.
 */

/**
 * struct single - one such lock
 * @node: in singles
 * @key: dma_buf or dma_buf_attachment, compared only
 * @task: who locked, compared only
 * @sync: locked object
 */
struct single {
	struct list_head node;
	const void *key;
	const struct task_struct *task;
	struct dmabuf_sync *sync;
};

static LIST_HEAD(singles);
static DEFINE_SPINLOCK(singles_lock);

static int single_lock(const void *key, struct dma_buf *dmabuf, unsigned int type, bool wait)
{
	struct single *single;
	int err;

	single = kmalloc(sizeof(*single), GFP_KERNEL);
	if (!single)
		return -ENOMEM;
	single->key = key;
	single->task = current;
	single->sync = dmabuf_sync_init("single", NULL, NULL);
	if (IS_ERR(single->sync)) {
		err = PTR_ERR(single->sync);
		goto free_single;
	}
	err = dmabuf_sync_get(single->sync, dmabuf, type);
	if (err)
		goto fini_sync;
	err = wait ? dmabuf_sync_lock(single->sync) : dmabuf_sync_trylock(single->sync);
	if (err)
		goto fini_sync;

	spin_lock(&singles_lock);
	list_add(&single->node, &singles);
	spin_unlock(&singles_lock);
	return 0;

fini_sync:
	dmabuf_sync_fini(single->sync);
free_single:
	kfree(single);
	return err;
}

static int single_unlock(const void *key)
{
	struct single *single, *found = NULL;
	int err;

	spin_lock(&singles_lock);
	list_for_each_entry(single, &singles, node) {
		if (single->key != key)
			continue;
		found = single;
		if (single->task == current)
			break;
	}
	if (found)
		list_del(&found->node);
	spin_unlock(&singles_lock);
	if (WARN_ON_ONCE(!found))
		return -EPERM;

	err = dmabuf_sync_unlock(found->sync);
	dmabuf_sync_fini(found->sync);
	kfree(found);
	return err;
}

/**
 * dmabuf_sync_single_lock - lock one dma-buf
 * @dmabuf: the buffer
 * @type: DMA_BUF_ACCESS_*
 * @wait: false to fail instead of waiting
 *
 * Returns: 0; -EINVAL bad type; -EAGAIN; -ERESTARTSYS; -ENOMEM; what
 * begin_cpu_access says.
 */
int dmabuf_sync_single_lock(struct dma_buf *dmabuf, unsigned int type, bool wait)
{
	return single_lock(dmabuf, dmabuf, type, wait);
}
EXPORT_SYMBOL_GPL(dmabuf_sync_single_lock);

/**
 * dmabuf_sync_single_unlock - undo dmabuf_sync_single_lock()
 * @dmabuf: the buffer
 *
 * Returns: 0; -EPERM not locked, which is a bug of the caller; -ETIMEDOUT the
 * hold had been revoked.
 */
int dmabuf_sync_single_unlock(struct dma_buf *dmabuf)
{
	return single_unlock(dmabuf);
}
EXPORT_SYMBOL_GPL(dmabuf_sync_single_unlock);

/**
 * dma_buf_attachment_start_dma - the device behind an attachment gets the buffer
 * @attach: a mapped attachment
 * @dir: DMA_TO_DEVICE to read it, DMA_FROM_DEVICE or DMA_BIDIRECTIONAL to write it
 *
 * Waits for the CPU to be off the buffer and for the fences on it. An exporter
 * that has registered &dmabuf_sync_exporter.start_dma brings the mapping up to
 * date, so it can stay mapped for as long as it is attached. Of other exporters
 * nothing is known: unmap after the DMA, or use dma_sync_sgtable_for_device()
 * before it and dma_sync_sgtable_for_cpu() after it.
 *
 * Returns: as dmabuf_sync_single_lock(); what the exporter says.
 */
int dma_buf_attachment_start_dma(struct dma_buf_attachment *attach, enum dma_data_direction dir)
{
	const struct dmabuf_sync_exporter *exporter = dsync_exporter_find(attach->dmabuf);
	unsigned int type;
	int err;

	switch (dir) {
	case DMA_TO_DEVICE:
		type = DMA_BUF_ACCESS_DMA_R;
		break;
	case DMA_FROM_DEVICE:
		type = DMA_BUF_ACCESS_DMA_W;
		break;
	case DMA_BIDIRECTIONAL:
		type = DMA_BUF_ACCESS_DMA_RW;
		break;
	default:
		return -EINVAL;
	}
	err = single_lock(attach, attach->dmabuf, type, true);
	if (err || !exporter || !exporter->start_dma)
		return err;
	err = exporter->start_dma(attach, dir);
	if (err)
		single_unlock(attach);
	return err;
}
EXPORT_SYMBOL_GPL(dma_buf_attachment_start_dma);

/**
 * dma_buf_attachment_end_dma - the device is through with the buffer
 * @attach: as given to dma_buf_attachment_start_dma()
 */
void dma_buf_attachment_end_dma(struct dma_buf_attachment *attach)
{
	const struct dmabuf_sync_exporter *exporter = dsync_exporter_find(attach->dmabuf);

	if (exporter && exporter->end_dma)
		exporter->end_dma(attach);
	single_unlock(attach);
}
EXPORT_SYMBOL_GPL(dma_buf_attachment_end_dma);
