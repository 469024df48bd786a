// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmabuf-sync: holds that are due and wanted are taken away.
 */
#include <linux/file.h>
#include <linux/slab.h>

#include "sync.h"
#include "trace.h"

/**
 * DOC: deadlines
 *
 * Every CPU hold has a deadline. Nothing happens at that time as long as
 * nobody wants the buffer; the timer of a queue is only armed while somebody
 * waits in it, for the earliest deadline of a hold that keeps somebody back.
 * A request that does not wait revokes what is due by itself, in passing.
 *
 * The hold of an fcntl() owner goes with all its records on that buffer. Its
 * file may be on its way out: then the last close is about to remove them, and
 * we leave it to it.
 *
 * What a driver locks for DMA has none: nothing here could stop the hardware. A driver
 * that holds buffers for as long as user space likes asks dmabuf_sync_overdue() now and
 * then, and stops it.
 */

/**
 * struct dsync_expiry - the deadline timer of a queue
 * @work: pending while armed; has a reference to @queue then
 * @queue: whose it is
 * @due: deadline for which it is armed, KTIME_MAX if it is not; under the queue's lock
 */
struct dsync_expiry {
	struct delayed_work work;
	struct dsync_queue *queue;
	ktime_t due;
};

static bool revocable(const struct dsync_access *held)
{
	return held->deadline != KTIME_MAX &&
	       !(held->flags & (DSYNC_PENDING | DSYNC_LEAVING | DSYNC_ENDING | DSYNC_JOB));
}

static bool keeps_somebody_back(const struct dsync_queue *queue, const struct dsync_access *held)
{
	struct dsync_access *waiting;

	list_for_each_entry(waiting, &queue->waiting, node) {
		if (dsync_holds_back(held, waiting))
			return true;
		/* Looked at all its records: there may be many of these, and of those who wait. */
		cond_resched();
	}
	return false;
}

/* With a reference to the file of an fcntl hold, which may not be ours to touch. */
static struct dsync_access *find_due(struct dsync_queue *queue,
				     const struct dsync_access *wanted, struct file **file)
{
	struct dsync_access *held;
	ktime_t now = ktime_get();

	list_for_each_entry(held, &queue->granted, node) {
		if (!revocable(held) || ktime_after(held->deadline, now))
			continue;
		if (!(wanted && dsync_holds_back(held, wanted)) &&
		    !keeps_somebody_back(queue, held))
			continue;
		*file = NULL;
		if (!(held->flags & DSYNC_FCNTL))
			return held;
		*file = get_file_unless_dying(held->dmabuf->file);
		if (*file)
			return held;
	}
	return NULL;
}

/* Of a driver's hold: has it lasted for as long as others had to bear? */
static bool overdue(const struct dsync_access *held)
{
	ktime_t due = ktime_add(held->granted_at, dsync_hold_time(0));

	return held->deadline == KTIME_MAX && (held->flags & DSYNC_KERNEL) &&
	       !(held->flags & DSYNC_JOB) && !ktime_after(due, ktime_get());
}

static void refuse(struct dsync_queue *queue, const struct dsync_access *wanted)
{
	struct dsync_access *held;

	list_for_each_entry(held, &queue->granted, node)
		if (overdue(held) && dsync_holds_back(held, wanted))
			held->flags |= DSYNC_REFUSED;
}

/* @queue is locked, and is unlocked on return. */
static void revoke(struct dsync_queue *queue, struct dsync_access *held, struct file *file)
{
	trace_dmabuf_sync_revoke(held);
	dsync_count(REVOKE);
	held->flags |= DSYNC_REVOKED;
	if (!file) {
		/* The owner frees it, once it is off the list. */
		dsync_release(held);
		return;
	}

	dsync_posix_remove(file, held->owner);
	/* It becomes a note for the owner as it leaves the queue. */
	dsync_release(held);
	dsync_queue_put(queue);
	fput(file);
	module_put(THIS_MODULE);
}

/**
 * dsync_expire - revoke all that is due and wanted
 * @queue: queue with a reference of the caller's, not locked
 * @wanted: access that does not wait but would take the buffer, or NULL
 *
 * Returns: true if anything was revoked.
 */
bool dsync_expire(struct dsync_queue *queue, const struct dsync_access *wanted)
{
	struct dsync_access *held;
	struct file *file;
	bool any = false;

	for (;;) {
		dsync_queue_lock(queue);
		/* From now on they have a deadline. */
		if (wanted && wanted->dmabuf)
			dsync_posix_adopt(queue, wanted->dmabuf);
		held = find_due(queue, wanted, &file);
		if (!held)
			break;
		revoke(queue, held, file);
		any = true;
	}
	if (wanted)
		refuse(queue, wanted);
	dsync_expiry_arm(queue);
	dsync_queue_unlock(queue);
	return any;
}

static void expiry_work(struct work_struct *work)
{
	struct dsync_expiry *expiry =
		container_of(to_delayed_work(work), struct dsync_expiry, work);
	struct dsync_queue *queue = expiry->queue;

	dsync_queue_lock(queue);
	expiry->due = KTIME_MAX;
	dsync_queue_unlock(queue);
	dsync_expire(queue, NULL);
	dsync_queue_put(queue);
}

/**
 * dsync_expiry_prepare - make the timer of a queue that somebody will wait in
 * @queue: queue, not locked
 *
 * Returns: 0 or -ENOMEM.
 */
int dsync_expiry_prepare(struct dsync_queue *queue)
{
	struct dsync_expiry *expiry;

	if (READ_ONCE(queue->expiry))
		return 0;
	expiry = kmalloc(sizeof(*expiry), GFP_KERNEL_ACCOUNT);
	if (!expiry)
		return -ENOMEM;
	INIT_DELAYED_WORK(&expiry->work, expiry_work);
	expiry->queue = queue;
	expiry->due = KTIME_MAX;
	if (cmpxchg(&queue->expiry, NULL, expiry))
		kfree(expiry);
	return 0;
}

/**
 * dsync_expiry_arm - set the timer for the next deadline that matters, or stop it
 * @queue: locked queue
 */
void dsync_expiry_arm(struct dsync_queue *queue)
{
	struct dsync_expiry *expiry = queue->expiry;
	ktime_t earliest = KTIME_MAX;
	struct dsync_access *held;
	unsigned long delay;

	if (!expiry)
		return;
	if (!list_empty(&queue->waiting))
		list_for_each_entry(held, &queue->granted, node)
			if (revocable(held) && ktime_before(held->deadline, earliest) &&
			    keeps_somebody_back(queue, held))
				earliest = held->deadline;

	/* An armed timer has a reference. The caller has one too: never the last here. */
	if (earliest == KTIME_MAX) {
		expiry->due = KTIME_MAX;
		if (cancel_delayed_work(&expiry->work))
			dsync_queue_put(queue);
		return;
	}
	/* Who locks again and again would put it off for ever. */
	if (!ktime_before(earliest, expiry->due))
		return;
	expiry->due = earliest;
	delay = dsync_timeout_until(earliest);
	/* Due but left alone: its file is being closed. Look again soon. */
	if (!mod_delayed_work(dsync_expiry_wq, &expiry->work, max(delay, 1UL)))
		dsync_queue_ref(queue);
}

/**
 * dmabuf_sync_overdue - is what a driver holds wanted, and has it had it for long
 * @sync: object of the driver's; may sleep
 *
 * For holds without a deadline: DMA that is no job. Where user space decides how
 * long they last, the driver has to end them when this says so, or one who shares
 * a buffer could keep it from all others.
 *
 * Returns: true if the object is locked, if any of its buffers was granted
 * hold_timeout_ms ago or earlier, and if somebody waits for that hold to end or has
 * been refused for it since.
 */
bool dmabuf_sync_overdue(struct dmabuf_sync *sync)
{
	struct dsync_access *held;
	bool wanted = false;

	mutex_lock(&sync->mutex);
	if (sync->state != DSYNC_SYNC_LOCKED)
		goto unlock;
	for_each_access(held, &sync->request) {
		dsync_queue_lock(held->queue);
		wanted = overdue(held) && ((held->flags & DSYNC_REFUSED) ||
					   keeps_somebody_back(held->queue, held));
		dsync_queue_unlock(held->queue);
		if (wanted)
			break;
	}
unlock:
	mutex_unlock(&sync->mutex);
	return wanted;
}
EXPORT_SYMBOL_GPL(dmabuf_sync_overdue);
