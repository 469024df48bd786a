// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmabuf-sync: cache maintenance around the time the CPU has a buffer.
 */
#include "dsync.h"

/**
 * DOC: caches
 *
 * begin_cpu_access runs when the CPU gets a buffer, end_cpu_access when the
 * last CPU access is over; both have no range and may copy whole buffers, so
 * nothing runs while the buffer passes from one CPU access to the next. What
 * is owed is kept in the accesses themselves: dsync_access.begun tells which
 * calls of end_cpu_access an access has to make when it leaves, and an access
 * that leaves hands its debt to another one that stays. There is one exception:
 * when the last who writes leaves and a device waits to read, the caches are
 * cleaned under the eyes of the CPU's readers. The device would have to wait
 * for them otherwise, although they do not conflict, and they perhaps for it.
 *
 * The exporter is called directly and without any lock: after the fences have
 * been waited for there is nothing left that dma_buf_begin_cpu_access() would
 * add, and it can fail, for a signal, after the exporter has begun.
 *
 * For exporters with range hooks all of this is done in ranges.c instead.
 */

static bool same_cpu_buffer(const struct dsync_access *a, const struct dsync_access *b)
{
	return a != b && a->dmabuf == b->dmabuf && dsync_uses_cache(b);
}

static unsigned int begun_by_all(const struct dsync_access *access)
{
	unsigned int begun = access->begun;
	struct dsync_access *other;

	list_for_each_entry(other, &access->queue->granted, node)
		if (same_cpu_buffer(access, other))
			begun |= other->begun;
	return begun;
}

static unsigned int begun_wanted(const struct dsync_access *access)
{
	return access->type & DMABUF_SYNC_WRITE ? DSYNC_BEGUN_WRITE : DSYNC_BEGUN_READ;
}

/* A begun write serves readers as well. */
static bool begun_enough(unsigned int begun, unsigned int wanted)
{
	return begun & (wanted | DSYNC_BEGUN_WRITE);
}

static bool others_beginning(const struct dsync_access *access)
{
	struct dsync_access *other;

	list_for_each_entry(other, &access->queue->granted, node)
		if (same_cpu_buffer(access, other) && (other->flags & DSYNC_BEGINNING))
			return true;
	return false;
}

/**
 * dsync_cache_needs_begin - is there anything for dsync_cache_begin() to do?
 * @access: granted access, its queue locked
 *
 * Returns: true if begin_cpu_access has to run, or is running.
 */
bool dsync_cache_needs_begin(const struct dsync_access *access)
{
	const struct dma_buf_ops *ops;

	if (!dsync_uses_cache(access))
		return false;
	if (dsync_has_ranges(access))
		return dsync_ranges_need_begin(access);
	ops = access->dmabuf->ops;
	if (!ops->begin_cpu_access && !ops->end_cpu_access)
		return false;
	return others_beginning(access) ||
	       !begun_enough(begun_by_all(access), begun_wanted(access));
}

/**
 * dsync_cache_begin - get the caches ready for a granted CPU access
 * @access: granted, pending; nothing is locked
 *
 * Returns: 0, or what the exporter says. May sleep, killably.
 */
int dsync_cache_begin(struct dsync_access *access)
{
	struct dsync_queue *queue = access->queue;
	unsigned int wanted = begun_wanted(access);
	int err = 0;

	if (dsync_has_ranges(access))
		return dsync_ranges_begin(access);
	dsync_queue_lock(queue);
	while (dsync_cache_needs_begin(access)) {
		const struct dma_buf_ops *ops = access->dmabuf->ops;

		if (others_beginning(access)) {
			dsync_queue_unlock(queue);
			err = wait_var_event_killable(queue, !READ_ONCE(queue->beginnings));
			if (err)
				return err;
			dsync_queue_lock(queue);
			continue;
		}
		access->flags |= DSYNC_BEGINNING;
		WRITE_ONCE(queue->beginnings, queue->beginnings + 1);
		dsync_queue_unlock(queue);
		if (ops->begin_cpu_access)
			err = ops->begin_cpu_access(access->dmabuf,
						    wanted == DSYNC_BEGUN_WRITE ?
						    DMA_BIDIRECTIONAL : DMA_FROM_DEVICE);
		dsync_queue_lock(queue);
		access->flags &= ~DSYNC_BEGINNING;
		WRITE_ONCE(queue->beginnings, queue->beginnings - 1);
		if (!err)
			access->begun |= wanted;
		dsync_wake_var(queue);
		if (err)
			break;
	}
	dsync_queue_unlock(queue);
	return err;
}

static bool device_waits_to_read(const struct dsync_queue *queue)
{
	const struct dsync_access *waiting;

	list_for_each_entry(waiting, &queue->waiting, node)
		if ((waiting->type & DMABUF_SYNC_DMA) && !(waiting->type & DMABUF_SYNC_WRITE))
			return true;
	return false;
}

/* Another CPU access of the same dma-buf that stays, one that writes if there is any. */
static struct dsync_access *find_heir(const struct dsync_access *access)
{
	struct dsync_access *other, *heir = NULL;

	list_for_each_entry(other, &access->queue->granted, node) {
		if (!same_cpu_buffer(access, other) || (other->flags & DSYNC_LEAVING))
			continue;
		if (!heir || (other->type & DMABUF_SYNC_WRITE))
			heir = other;
	}
	return heir;
}

/**
 * dsync_cache_hand_over - leave what is owed to somebody who stays
 * @access: leaving access that owes end_cpu_access, its queue locked
 * @shared: (out) false is returned, but other CPU accesses stay
 *
 * Returns: true if another CPU access of the same dma-buf has taken it over.
 */
bool dsync_cache_hand_over(struct dsync_access *access, bool *shared)
{
	struct dsync_access *heir = find_heir(access);

	*shared = heir;
	if (!heir)
		return false;
	if ((access->begun & DSYNC_BEGUN_WRITE) && !(heir->type & DMABUF_SYNC_WRITE) &&
	    device_waits_to_read(access->queue))
		return false;
	heir->begun |= access->begun;
	access->begun = 0;
	return true;
}

/**
 * dsync_cache_end - pay what is owed
 * @access: leaving access, DSYNC_ENDING; nothing is locked
 * @shared: others go on reading; @access owes for them afterwards
 */
void dsync_cache_end(struct dsync_access *access, bool shared)
{
	const struct dma_buf_ops *ops = access->dmabuf->ops;

	/* In reverse order: a write begins after a read, never before it. */
	if (ops->end_cpu_access && (access->begun & DSYNC_BEGUN_WRITE))
		ops->end_cpu_access(access->dmabuf, DMA_BIDIRECTIONAL);
	if (ops->end_cpu_access && (access->begun & DSYNC_BEGUN_READ))
		ops->end_cpu_access(access->dmabuf, DMA_FROM_DEVICE);
	access->begun = 0;
	/* If it fails they see what they saw before: nobody has written meanwhile. */
	if (shared && (!ops->begin_cpu_access ||
		       !ops->begin_cpu_access(access->dmabuf, DMA_FROM_DEVICE)))
		access->begun = DSYNC_BEGUN_READ;
}
