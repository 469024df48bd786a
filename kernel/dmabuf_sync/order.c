// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmabuf-sync: who waits in front of whom.
 */
#include "dsync.h"

/**
 * DOC: order
 *
 * The waiting list is the order of service, and newcomers go to its end. Two of
 * its accesses that do not conflict may change places: neither waits for the
 * other.
 *
 * One exception: those who wait for what the newcomer's owner holds already
 * cannot be served before it, so they go behind it. So do those who wait behind
 * one of them. Nobody else is passed, wherever in the list he stands.
 */

static bool waits_for_any(const struct dsync_access *waiting, const struct list_head *those)
{
	const struct dsync_access *other;

	list_for_each_entry(other, those, node)
		if (dsync_conflict(other, waiting))
			return true;
	return false;
}

/* It is on its way out: who waits for it will be served without its owner's doing. */
static bool stays(const struct dsync_access *held)
{
	return !(held->flags & (DSYNC_REVOKED | DSYNC_LEAVING | DSYNC_ENDING));
}

/* Does anything that @owner holds keep @waiting back? */
static bool owner_holds_back(const struct dsync_queue *queue, const void *owner,
			     const struct dsync_access *waiting)
{
	const struct dsync_access *held;

	list_for_each_entry(held, &queue->granted, node)
		if (held->owner == owner && stays(held) && dsync_holds_back(held, waiting))
			return true;
	return false;
}

static bool holds_any(const struct dsync_queue *queue, const void *owner)
{
	const struct dsync_access *held;

	list_for_each_entry(held, &queue->granted, node)
		if (held->owner == owner && stays(held))
			return true;
	return false;
}

/**
 * dsync_enqueue_position - where a new access goes in the waiting list
 * @access: access of a locked queue
 *
 * Those who wait for its owner, directly or behind each other, are at the end
 * of the list on return. They conflict with nobody they have changed places with.
 *
 * Returns: the first of them, in front of which @access belongs; the list head
 * if there is none.
 */
struct list_head *dsync_enqueue_position(const struct dsync_access *access)
{
	struct dsync_queue *queue = access->queue;
	struct dsync_access *waiting, *next;
	struct list_head *position;
	LIST_HEAD(behind);

	if (list_empty(&queue->waiting) || !holds_any(queue, access->owner))
		return &queue->waiting;
	list_for_each_entry_safe(waiting, next, &queue->waiting, node)
		if (owner_holds_back(queue, access->owner, waiting) ||
		    waits_for_any(waiting, &behind))
			list_move_tail(&waiting->node, &behind);
	if (list_empty(&behind))
		return &queue->waiting;
	position = behind.next;
	list_splice_tail(&behind, &queue->waiting);
	return position;
}

/**
 * dsync_order_overtake - let an access pass another one
 * @from: waiting access of a locked queue
 * @to: one that waits in front of it
 *
 * Who waits between them behind @to goes behind @from, too.
 */
void dsync_order_overtake(struct dsync_access *from, struct dsync_access *to)
{
	struct dsync_access *waiting = to, *next;
	LIST_HEAD(behind);

	list_for_each_entry_safe_from(waiting, next, &from->queue->waiting, node) {
		if (waiting == from)
			break;
		if (waiting == to || waits_for_any(waiting, &behind))
			list_move_tail(&waiting->node, &behind);
	}
	list_splice(&behind, &from->node);
}
