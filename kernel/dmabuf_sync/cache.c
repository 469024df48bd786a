// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmabuf-sync: cache maintenance around the time the CPU has a buffer.
 */
#include <linux/file.h>

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
 * when nobody writes any more and a device wants to read, the caches are cleaned
 * under the eyes of the CPU's readers, be it when the writer leaves or when the
 * device comes. It would have to wait for the readers otherwise, although they
 * do not conflict, and they perhaps for it.
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

static bool device_reads(const struct dsync_access *access)
{
	return (access->type & DMABUF_SYNC_DMA) && !(access->type & DMABUF_SYNC_WRITE);
}

static bool device_waits_to_read(const struct dsync_queue *queue)
{
	const struct dsync_access *waiting;

	list_for_each_entry(waiting, &queue->waiting, node)
		if (device_reads(waiting))
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

/*
 * Leave what is owed to somebody who stays. Returns false if there is nobody, or,
 * with @shared, if it has to be paid all the same.
 */
static bool hand_over(struct dsync_access *access, bool *shared)
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

/*
 * If it is @shared others go on reading; @access owes for them afterwards. The queue is
 * locked, and is unlocked for a while.
 */
static void end(struct dsync_access *access, bool shared)
{
	const struct dma_buf_ops *ops = access->dmabuf->ops;
	struct dsync_queue *queue = access->queue;

	access->flags |= DSYNC_ENDING;
	dsync_queue_close(queue);
	dsync_queue_unlock(queue);
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
	dsync_queue_lock(queue);
	dsync_queue_open(queue);
}

/**
 * dsync_cache_pay - end what a leaving access owes, or hand it over
 * @access: leaving; its queue is locked, and is unlocked for a while
 *
 * Nobody is granted anything on that queue meanwhile. The caller scans it.
 */
void dsync_cache_pay(struct dsync_access *access)
{
	bool shared;

	while (access->begun && !hand_over(access, &shared))
		end(access, shared);
}

/*
 * A reader that owes for what somebody has written, with nobody left who writes; and a
 * reference to its file. One whose file is on its way out is about to pay by itself.
 */
static struct dsync_access *find_dirty_reader(const struct dsync_queue *queue, struct file **file)
{
	struct dsync_access *held, *heir;

	list_for_each_entry(held, &queue->granted, node) {
		if (!(held->begun & DSYNC_BEGUN_WRITE) || (held->type & DMABUF_SYNC_WRITE) ||
		    (held->flags & (DSYNC_BEGINNING | DSYNC_LEAVING | DSYNC_ENDING)))
			continue;
		heir = find_heir(held);
		if (heir && (heir->type & DMABUF_SYNC_WRITE))
			continue;
		*file = get_file_unless_dying(held->dmabuf->file);
		if (*file)
			return held;
	}
	return NULL;
}

/**
 * dsync_cache_unsettled - would dsync_cache_settle() do anything for a device?
 * @wanted: access of a locked queue
 *
 * Returns: true if it would.
 */
bool dsync_cache_unsettled(const struct dsync_access *wanted)
{
	struct file *file;

	if (!(wanted->type & DMABUF_SYNC_DMA))
		return false;
	if (dsync_ranges_unsettled(wanted))
		return true;
	if (!device_reads(wanted) || !find_dirty_reader(wanted->queue, &file))
		return false;
	fput(file);
	return true;
}

/**
 * dsync_cache_settle - pay what need not be owed any more
 * @access: access of a locked queue: what it covers has changed, or it is about to
 *	wait there for DMA
 * @wanted: @access in the latter case, else NULL
 *
 * The queue is unlocked in between, and has to be scanned afterwards.
 *
 * Returns: true if anything has changed.
 */
bool dsync_cache_settle(const struct dsync_access *access, const struct dsync_access *wanted)
{
	bool changed = dsync_ranges_settle(access, wanted);
	struct dsync_queue *queue = access->queue;
	struct dsync_access *dirty;
	struct file *file;

	if (!(wanted && device_reads(wanted)) && !device_waits_to_read(queue))
		return changed;
	while ((dirty = find_dirty_reader(queue, &file))) {
		/* It may go meanwhile: somebody else leaves in its stead, and pays. */
		struct dsync_access payer = *dirty;

		payer.owner = &payer;
		payer.request = NULL;
		payer.flags = (dirty->flags & (DSYNC_FCNTL | DSYNC_KERNEL)) | DSYNC_LEAVING;
		get_pid(payer.pid);
		dirty->begun = 0;
		list_add_tail(&payer.node, &queue->granted);
		end(&payer, true);
		dsync_cache_pay(&payer);
		list_del(&payer.node);
		put_pid(payer.pid);
		fput(file);
		changed = true;
	}
	return changed;
}
