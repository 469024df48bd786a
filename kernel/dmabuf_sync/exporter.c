// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmabuf-sync: exporters that can do more than dma_buf_ops asks of them.
 */
#include <linux/dma-mapping.h>
#include <linux/export.h>
#include <linux/fdtable.h>
#include <linux/rculist.h>

#include "dsync.h"

/**
 * DOC: exporters
 *
 * begin and end_cpu_access have no range, so in general the CPU and a device
 * cannot use two parts of one buffer at a time. An exporter that registers
 * range hooks is told what is begun and ended byte by byte (ranges.c), and
 * ranges count between its CPU and its DMA accesses, rounded to
 * dma_get_cache_alignment(): a cache line is never shared with a device.
 *
 * An exporter is looked up once for each access, which remembers it: its
 * dma-bufs pin its module for as long as it is used.
 */

static LIST_HEAD(exporters);
static DEFINE_SPINLOCK(exporters_lock);

/**
 * dmabuf_sync_register_exporter - from now on use the hooks of an exporter
 * @exporter: stays until dmabuf_sync_unregister_exporter(), or until this
 *	module is unloaded; may be registered already
 *
 * A module that does not want to depend on this one reaches it by symbol_get().
 *
 * Returns: 0 or -EINVAL.
 */
int dmabuf_sync_register_exporter(struct dmabuf_sync_exporter *exporter)
{
	struct dmabuf_sync_exporter *other;

	if (!exporter->dma_buf_ops || !exporter->begin_range != !exporter->end_range)
		return -EINVAL;
	spin_lock(&exporters_lock);
	list_for_each_entry(other, &exporters, node)
		if (other == exporter)
			goto unlock;
	list_add_rcu(&exporter->node, &exporters);
unlock:
	spin_unlock(&exporters_lock);
	return 0;
}
EXPORT_SYMBOL_GPL(dmabuf_sync_register_exporter);

/**
 * dmabuf_sync_unregister_exporter - forget an exporter that has no dma-bufs left
 * @exporter: as registered, or not
 */
void dmabuf_sync_unregister_exporter(struct dmabuf_sync_exporter *exporter)
{
	struct dmabuf_sync_exporter *other;

	spin_lock(&exporters_lock);
	list_for_each_entry(other, &exporters, node) {
		if (other == exporter) {
			list_del_rcu(&exporter->node);
			break;
		}
	}
	spin_unlock(&exporters_lock);
	synchronize_rcu();
}
EXPORT_SYMBOL_GPL(dmabuf_sync_unregister_exporter);

/**
 * dsync_exporters_forget - this module goes
 *
 * From now on exporters cannot unregister, since nobody can call us, and may go
 * themselves, while calls of fcntl() still come. They are left alone: who is on the
 * list just now finds the way out of it, and modules wait for RCU before they go.
 */
void dsync_exporters_forget(void)
{
	spin_lock(&exporters_lock);
	INIT_LIST_HEAD(&exporters);
	spin_unlock(&exporters_lock);
}

/**
 * dsync_exporter_find - who made a dma-buf
 * @dmabuf: buffer or NULL
 *
 * Returns: its exporter if that has registered, else NULL.
 */
const struct dmabuf_sync_exporter *dsync_exporter_find(const struct dma_buf *dmabuf)
{
	const struct dmabuf_sync_exporter *exporter, *found = NULL;

	if (!dmabuf)
		return NULL;
	rcu_read_lock();
	list_for_each_entry_rcu(exporter, &exporters, node) {
		if (exporter->dma_buf_ops == dmabuf->ops) {
			found = exporter;
			break;
		}
	}
	rcu_read_unlock();
	return found;
}

/**
 * dsync_dma_first - round the start of a range down to what DMA does not share
 * @start: byte
 *
 * Returns: first byte of its cache line.
 */
loff_t dsync_dma_first(loff_t start)
{
	return start & ~((loff_t)dma_get_cache_alignment() - 1);
}

/**
 * dsync_dma_last - round the end of a range up to what DMA does not share
 * @end: byte
 *
 * Returns: last byte of its cache line.
 */
loff_t dsync_dma_last(loff_t end)
{
	return end | ((loff_t)dma_get_cache_alignment() - 1);
}

/**
 * dsync_released - tell the exporter that an owner has lost a part of a buffer
 * @access: access of the CPU that leaves, or like one whose range or type shrinks; its
 *	queue is locked, and is unlocked for a while
 * @first: first byte that is lost
 * @last: last byte
 *
 * Nobody is granted anything on that queue meanwhile. The caller scans it.
 */
void dsync_released(const struct dsync_access *access, loff_t first, loff_t last)
{
	const struct dmabuf_sync_exporter *exporter = access->exporter;
	struct dsync_queue *queue = access->queue;
	struct dma_buf *dmabuf = access->dmabuf;

	if (!exporter || !exporter->released || (access->type & DMABUF_SYNC_DMA))
		return;
	dsync_queue_close(queue);
	dsync_queue_unlock(queue);
	exporter->released(dmabuf, first, last);
	dsync_queue_lock(queue);
	dsync_queue_open(queue);
}

static bool held_for(const struct dsync_access *held, const struct dma_buf *dmabuf,
		     loff_t first, loff_t last, bool write)
{
	if (held->dmabuf != dmabuf || (held->flags & DSYNC_FCNTL) ||
	    (held->type & DMABUF_SYNC_DMA) || held->pid != task_tgid(current))
		return false;
	if (held->flags & (DSYNC_PENDING | DSYNC_LEAVING | DSYNC_ENDING | DSYNC_REVOKED))
		return false;
	if (write && !(held->type & DMABUF_SYNC_WRITE))
		return false;
	return held->start <= last && first <= held->end;
}

/**
 * dmabuf_sync_cpu_may_access - does the calling process hold any of these bytes?
 * @dmabuf: buffer
 * @first: first byte
 * @last: last byte
 * @write: for writing
 *
 * What it holds through fcntl(), what anybody holds through an open file
 * description, which all who share the buffer have in common, and the sync
 * objects that it has locked. From a page fault handler, for one.
 *
 * Returns: true if it does; whoever takes it away calls
 * dmabuf_sync_exporter.released afterwards.
 */
bool dmabuf_sync_cpu_may_access(struct dma_buf *dmabuf, loff_t first, loff_t last, bool write)
{
	struct dsync_access *held;
	struct dsync_queue *queue;
	bool allowed = false;

	if (dsync_posix_may_access(dmabuf, first, last, write))
		return true;
	queue = dsync_queue_find(dmabuf->resv);
	if (!queue)
		return false;
	dsync_queue_lock(queue);
	list_for_each_entry(held, &queue->granted, node)
		allowed |= held_for(held, dmabuf, first, last, write);
	dsync_queue_unlock(queue);
	dsync_queue_put(queue);
	return allowed;
}
EXPORT_SYMBOL_GPL(dmabuf_sync_cpu_may_access);
