// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmabuf-sync: cache maintenance byte by byte, for exporters that can.
 */
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "dsync.h"

/**
 * DOC: ranges that are begun
 *
 * For an exporter with range hooks this takes the place of what cache.c does.
 * A queue has a list of the ranges that were begun and not ended yet. They do
 * not belong to an access: who is granted what is begun already causes no
 * cache work, and a range that nobody holds any more is ended by whoever let
 * go of it last, part by part if need be. Until then a range that was begun
 * for writing keeps devices off, and while it is being ended everybody.
 *
 * A range that the CPU has written and is now only read needs no end before a
 * device wants it: then it is ended for writing and stays begun for reading.
 *
 * All is rounded to what DMA does not share, so that two ranges never have a
 * cache line in common.
 */

/**
 * dsync_has_ranges - is this access subject to this file?
 * @access: access
 *
 * Returns: true for an access of the CPU to a dma-buf of such an exporter.
 */
bool dsync_has_ranges(const struct dsync_access *access)
{
	return access->exporter && access->exporter->begin_range && dsync_uses_cache(access);
}

static bool overlaps(const struct dsync_range *range, const struct dsync_access *access)
{
	return range->dmabuf != access->dmabuf ||
	       (range->start <= dsync_dma_last(access->end) &&
		dsync_dma_first(access->start) <= range->end);
}

/* Somebody begins or ends what this access needs. */
static bool busy(const struct dsync_access *access)
{
	const struct dsync_range *range;

	list_for_each_entry(range, &access->queue->ranges, node)
		if (range->state != DSYNC_RANGE_BEGUN && overlaps(range, access))
			return true;
	return false;
}

static bool begun_enough(const struct dsync_range *range, const struct dsync_access *access)
{
	return range->dmabuf == access->dmabuf &&
	       (range->write || !(access->type & DMABUF_SYNC_WRITE));
}

/* The list is in order: who looks for some bytes goes through it once. */
static void insert_range(struct dsync_queue *queue, struct dsync_range *range)
{
	struct dsync_range *before;

	list_for_each_entry_reverse(before, &queue->ranges, node)
		if (before->start <= range->start)
			break;
	list_add(&range->node, &before->node);
}

/* The first bytes of an access that are not begun. */
static bool missing(const struct dsync_access *access, loff_t *first, loff_t *last)
{
	const struct dsync_range *range;

	*first = dsync_dma_first(access->start);
	*last = dsync_dma_last(access->end);
	list_for_each_entry(range, &access->queue->ranges, node) {
		if (!begun_enough(range, access) || range->end < *first)
			continue;
		if (range->start > *first) {
			*last = min(*last, range->start - 1);
			break;
		}
		if (range->end >= *last)
			return false;
		*first = range->end + 1;
	}
	return true;
}

/**
 * dsync_ranges_need_begin - is there anything for dsync_ranges_begin() to do?
 * @access: granted, its queue locked
 *
 * Returns: true if begin_range has to run, or is running.
 */
bool dsync_ranges_need_begin(const struct dsync_access *access)
{
	loff_t first, last;

	return busy(access) || missing(access, &first, &last);
}

static enum dma_data_direction direction(bool write)
{
	return write ? DMA_BIDIRECTIONAL : DMA_FROM_DEVICE;
}

static void call_over(struct dsync_queue *queue)
{
	WRITE_ONCE(queue->range_calls, queue->range_calls - 1);
	dsync_queue_moved(queue);
}

/* Takes @range, or NULL. The queue is locked, and unlocked while the exporter works. */
static int begin(struct dsync_access *access, struct dsync_range *range, loff_t first, loff_t last)
{
	struct dsync_queue *queue = access->queue;
	int err;

	if (!range)
		return -ENOMEM;
	range->dmabuf = access->dmabuf;
	range->exporter = access->exporter;
	range->start = first;
	range->end = last;
	range->write = access->type & DMABUF_SYNC_WRITE;
	range->state = DSYNC_RANGE_BEGINNING;
	insert_range(queue, range);
	WRITE_ONCE(queue->range_calls, queue->range_calls + 1);
	dsync_queue_unlock(queue);

	err = range->exporter->begin_range(range->dmabuf, first, last, direction(range->write));

	dsync_queue_lock(queue);
	range->state = DSYNC_RANGE_BEGUN;
	if (err) {
		list_del(&range->node);
		kfree(range);
	}
	call_over(queue);
	return err;
}

/**
 * dsync_ranges_begin - get the caches ready for a granted CPU access
 * @access: granted, pending; nothing is locked
 *
 * Returns: 0; -ENOMEM; -ERESTARTSYS, -EINTR killed; what the exporter says.
 */
int dsync_ranges_begin(struct dsync_access *access)
{
	struct dsync_queue *queue = access->queue;
	struct dsync_range *range = NULL;
	unsigned int moves;
	loff_t first, last;
	int err = 0;

	while (!err) {
		/* A full memory cgroup takes its time, which others need not share. */
		if (!range)
			range = kmalloc(sizeof(*range), GFP_KERNEL_ACCOUNT);
		dsync_queue_lock(queue);
		moves = queue->moves;
		if (busy(access)) {
			dsync_queue_unlock(queue);
			/* Until one call is over: with many users there is always another one. */
			err = wait_var_event_killable(&queue->range_calls,
						      READ_ONCE(queue->moves) != moves);
			continue;
		}
		if (!missing(access, &first, &last)) {
			dsync_queue_unlock(queue);
			break;
		}
		err = begin(access, range, first, last);
		range = NULL;
		dsync_queue_unlock(queue);
		cond_resched();
		if (fatal_signal_pending(current))
			err = err ?: -EINTR;
	}
	kfree(range);
	return err;
}

/**
 * dsync_ranges_ending - is anything being ended that an access needs?
 * @access: access of a locked queue
 *
 * Returns: true if end_range is running.
 */
bool dsync_ranges_ending(const struct dsync_access *access)
{
	const struct dsync_range *range;

	list_for_each_entry(range, &access->queue->ranges, node)
		if (range->state == DSYNC_RANGE_ENDING && overlaps(range, access))
			return true;
	return false;
}

/**
 * dsync_ranges_keep_back - do caches keep an access from being granted?
 * @access: access of a locked queue
 *
 * Returns: true for a device that would miss what the CPU has written, or write what
 * the CPU reads.
 */
bool dsync_ranges_keep_back(const struct dsync_access *access)
{
	const struct dsync_range *range;

	if (!(access->type & DMABUF_SYNC_DMA))
		return false;
	list_for_each_entry(range, &access->queue->ranges, node)
		if ((range->write || (access->type & DMABUF_SYNC_WRITE)) && overlaps(range, access))
			return true;
	return false;
}

/*
 * Does the CPU hold this byte, and up to where? If not, where does what it holds
 * begin again?
 */
static bool held_at(struct dsync_queue *queue, const struct dsync_range *range,
		    bool writers_only, loff_t pos, loff_t *end, loff_t *next)
{
	struct dsync_access *held;
	bool found;

	*end = -1;
	*next = OFFSET_MAX;
	found = dsync_posix_held_at(range->dmabuf, writers_only, pos, end, next);
	list_for_each_entry(held, &queue->granted, node) {
		if (held->dmabuf != range->dmabuf || !dsync_uses_cache(held) ||
		    (held->flags & (DSYNC_LEAVING | DSYNC_REVOKED)))
			continue;
		/* Complete fcntl holds are in the inode. */
		if ((held->flags & DSYNC_FCNTL) && !(held->flags & DSYNC_PENDING))
			continue;
		if (writers_only && !(held->type & DMABUF_SYNC_WRITE))
			continue;
		found |= dsync_held_at(held->start, held->end, pos, end, next);
	}
	return found;
}

/* The first bytes of a range that nobody holds (for writing). */
static bool unheld(struct dsync_queue *queue, const struct dsync_range *range,
		   bool writers_only, loff_t *first, loff_t *last)
{
	loff_t pos = range->start, end, next;

	while (held_at(queue, range, writers_only, pos, &end, &next)) {
		if (end >= range->end)
			return false;
		pos = end + 1;
	}
	*first = pos;
	*last = min(range->end, next == OFFSET_MAX ? next : next - 1);
	return true;
}

static bool wanted_for_dma(struct dsync_queue *queue, const struct dsync_range *range,
			   const struct dsync_access *wanted)
{
	const struct dsync_access *waiting;

	if (wanted && (wanted->type & DMABUF_SYNC_DMA) && overlaps(range, wanted))
		return true;
	list_for_each_entry(waiting, &queue->waiting, node)
		if ((waiting->type & DMABUF_SYNC_DMA) && overlaps(range, waiting))
			return true;
	return false;
}

/* Small, and nobody to tell if it failed. */
static void split(struct dsync_queue *queue, const struct dsync_range *range, loff_t start,
		  loff_t end)
{
	struct dsync_range *part = kmemdup(range, sizeof(*range), GFP_KERNEL | __GFP_NOFAIL);

	part->start = start;
	part->end = end;
	insert_range(queue, part);
}

static void cut(struct dsync_queue *queue, struct dsync_range *range, loff_t first, loff_t last)
{
	if (range->end > last)
		split(queue, range, last + 1, range->end);
	range->end = last;
	if (range->start == first)
		return;
	split(queue, range, range->start, first - 1);
	list_del(&range->node);
	range->start = first;
	insert_range(queue, range);
}

/* The queue is locked, and is unlocked for a while. */
static void end(struct dsync_queue *queue, struct dsync_range *range, bool still_read)
{
	range->state = DSYNC_RANGE_ENDING;
	WRITE_ONCE(queue->range_calls, queue->range_calls + 1);
	dsync_queue_unlock(queue);

	range->exporter->end_range(range->dmabuf, range->start, range->end,
				   direction(range->write));

	dsync_queue_lock(queue);
	if (still_read) {
		range->write = false;
		range->state = DSYNC_RANGE_BEGUN;
	} else {
		list_del(&range->node);
		kfree(range);
	}
	call_over(queue);
}

/*
 * The first range, of those that start at @from or later, of which a part, from @first to @last,
 * need not be begun any more.
 */
static struct dsync_range *find_unsettled(const struct dsync_access *around,
					  const struct dsync_access *wanted, loff_t from,
					  loff_t *first, loff_t *last, bool *still_read)
{
	struct dsync_queue *queue = around->queue;
	struct dsync_range *range;

	list_for_each_entry(range, &queue->ranges, node) {
		if (range->start < from || range->state != DSYNC_RANGE_BEGUN ||
		    !overlaps(range, around))
			continue;
		/* There may be many, and many who hold them. */
		cond_resched();
		*still_read = false;
		if (unheld(queue, range, false, first, last))
			return range;
		*still_read = true;
		if (range->write && wanted_for_dma(queue, range, wanted) &&
		    unheld(queue, range, true, first, last))
			return range;
	}
	return NULL;
}

/**
 * dsync_ranges_unsettled - would dsync_ranges_settle() do anything for a device?
 * @wanted: access of a locked queue
 *
 * Returns: true if it would.
 */
bool dsync_ranges_unsettled(const struct dsync_access *wanted)
{
	loff_t first, last;
	bool still_read;

	return find_unsettled(wanted, wanted, 0, &first, &last, &still_read);
}

/**
 * dsync_ranges_settle - end what need not be begun any more
 * @access: access of a locked queue: what it covers has changed, or it is about to
 *	wait there for DMA; a leaving one does not count as holding anything
 * @wanted: @access in the latter case, else NULL
 *
 * The queue is unlocked in between, and has to be scanned afterwards.
 *
 * Returns: true if anything has changed.
 */
bool dsync_ranges_settle(const struct dsync_access *access, const struct dsync_access *wanted)
{
	struct dsync_range *range;
	bool changed = false, still_read;
	loff_t first, last, from = 0;

	while ((range = find_unsettled(access, wanted, from, &first, &last, &still_read))) {
		/* Who changes anything in front of it meanwhile looks at that. */
		from = range->start;
		cut(access->queue, range, first, last);
		end(access->queue, range, still_read);
		changed = true;
	}
	return changed;
}
