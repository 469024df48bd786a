// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmabuf-sync: who gets a buffer, and when.
 */
#include "dsync.h"
#include "trace.h"

/**
 * DOC: granting
 *
 * The waiting list of a queue is the order of service. An access can be
 * granted when no granted access of another owner conflicts with it, and no
 * conflicting access waits in front of it; see order.c for who does.
 *
 * A grant is made by whoever made it possible, never by the one who waits: the
 * access is moved to the granted list under the lock that made it possible, so
 * that no newcomer slips in between, and only then is the owner woken. A woken
 * request has been served.
 *
 * A request for one buffer is granted on the spot. One for several buffers is
 * granted when all its accesses can be. Each queue can tell that for itself
 * only (DSYNC_READY), so the one who finds the last of them ready puts the
 * request on a list of candidates, and decides with all its queues locked
 * (dsync_grant_candidates()). DSYNC_READY may be out of date by then; what is
 * decided with all locks held is not, and a queue that changes later is
 * scanned again by the one who changes it: so no grant is lost.
 */

static bool types_conflict(const struct dsync_access *a, const struct dsync_access *b)
{
	return (a->type | b->type) & DMABUF_SYNC_WRITE;
}

/**
 * dsync_dma_overlap - do an access of a device and one of the CPU overlap?
 * @access: DMA
 * @dmabuf: buffer of the other
 * @start: its first byte
 * @end: its last byte
 *
 * Returns: true unless the exporter keeps its ranges apart.
 */
bool dsync_dma_overlap(const struct dsync_access *access, const struct dma_buf *dmabuf,
		       loff_t start, loff_t end)
{
	if (access->dmabuf != dmabuf || !access->exporter || !access->exporter->begin_range)
		return true;
	return dsync_dma_first(start) <= dsync_dma_last(access->end) &&
	       dsync_dma_first(access->start) <= dsync_dma_last(end);
}

/*
 * Ranges count between CPU accesses through the same dma-buf, and between CPU
 * and DMA if the exporter can do that; else it is all or nothing.
 */
static bool ranges_overlap(const struct dsync_access *a, const struct dsync_access *b)
{
	bool dma = a->type & DMABUF_SYNC_DMA;

	if (a->dmabuf != b->dmabuf)
		return true;
	if (!((a->type | b->type) & DMABUF_SYNC_DMA))
		return a->start <= b->end && b->start <= a->end;
	/* Between devices fences decide, and they have no range. */
	if (a->type & b->type & DMABUF_SYNC_DMA)
		return true;
	if (!dsync_has_ranges(dma ? b : a))
		return true;
	return dma ? dsync_dma_overlap(a, b->dmabuf, b->start, b->end) :
		     dsync_dma_overlap(b, a->dmabuf, a->start, a->end);
}

/**
 * dsync_conflict - may these two never be granted together?
 * @a: access
 * @b: access to the same reservation object
 *
 * For what fcntl() holds, @start and @end are not to be trusted: the ranges
 * are in the inode.
 *
 * Returns: true if their owners differ, their ranges overlap and one writes.
 */
bool dsync_conflict(const struct dsync_access *a, const struct dsync_access *b)
{
	return a->owner != b->owner && types_conflict(a, b) && ranges_overlap(a, b);
}

static bool ranges_in_inode(const struct dsync_access *held)
{
	return (held->flags & DSYNC_FCNTL) &&
	       !(held->flags & (DSYNC_PENDING | DSYNC_LEAVING | DSYNC_ENDING));
}

/* The CPU has written and its caches were not written back: no device may read yet. */
static bool dirty_for(const struct dsync_access *held, const struct dsync_access *access)
{
	return (access->type & DMABUF_SYNC_DMA) && (held->begun & DSYNC_BEGUN_WRITE) &&
	       held->owner != access->owner;
}

/*
 * Both are jobs, and the first has its fence. A device with caches or bounce buffers of its own
 * gets a copy when the buffer is mapped, before its job waits for fences, and gives it back when it
 * is unmapped, after its own has signalled: that copy would be old for another device.
 */
static bool ordered_by_fences(const struct dsync_access *held, const struct dsync_access *access)
{
	return (held->flags & DSYNC_JOB) && (access->flags & DSYNC_JOB) &&
	       !(held->flags & DSYNC_PENDING) &&
	       held->request->device == access->request->device;
}

/* As dsync_holds_back(), but leaves the ranges that are in the inode to the caller. */
static bool holds_back_here(const struct dsync_access *held, const struct dsync_access *access)
{
	if ((held->flags & DSYNC_ENDING) || dirty_for(held, access))
		return true;
	if (held->flags & DSYNC_LEAVING)
		return (access->type & DMABUF_SYNC_DMA) && dsync_conflict(held, access);
	return !ordered_by_fences(held, access) && dsync_conflict(held, access);
}

/**
 * dsync_holds_back - does a granted access keep another one from being granted?
 * @held: on the granted list of a queue
 * @access: wanted on the same queue, which is locked
 *
 * Returns: true if it does. Most jobs do not keep jobs back: their fences order them.
 */
bool dsync_holds_back(const struct dsync_access *held, const struct dsync_access *access)
{
	if (ranges_in_inode(held) && held->dmabuf == access->dmabuf)
		return dirty_for(held, access) ||
		       dsync_posix_owner_conflict(held->owner, access);
	return holds_back_here(held, access);
}

/* Its fence has signalled, and its driver is giving the buffer back. */
static bool ended_job(const struct dsync_access *held)
{
	return (held->flags & DSYNC_JOB) && dsync_job_has_ended(held->request);
}

/* What keeps it back ends by itself, soon. */
static bool closed(const struct dsync_access *access)
{
	const struct dsync_queue *queue = access->queue;
	const struct dsync_access *held;

	if (queue->closed || dsync_ranges_ending(access))
		return true;
	list_for_each_entry(held, &queue->granted, node)
		if (ended_job(held) && holds_back_here(held, access))
			return true;
	return false;
}

/* By anything but what closes the queue; by ended jobs only if these are @counted. */
static bool kept_back(const struct dsync_access *access, const struct list_head *position,
		      bool counted)
{
	const struct dsync_queue *queue = access->queue;
	const struct dsync_access *other;

	if (dsync_ranges_keep_back(access))
		return true;
	list_for_each_entry(other, &queue->granted, node) {
		/* The queue is closed for as long as that takes. */
		if ((other->flags & DSYNC_ENDING) || (!counted && ended_job(other)))
			continue;
		if (ranges_in_inode(other) && other->dmabuf == access->dmabuf &&
		    !dirty_for(other, access))
			continue;
		if (holds_back_here(other, access))
			return true;
	}
	if (dsync_posix_conflict(access))
		return true;
	list_for_each_entry(other, &queue->waiting, node) {
		if (&other->node == position)
			break;
		if (dsync_conflict(other, access))
			return true;
	}
	return false;
}

/**
 * dsync_blocked - does an access have to wait?
 * @access: access of a locked queue
 * @position: its element in the waiting list, or where it would be inserted
 *
 * A job may end at any time, and must not be missed for having run when it was looked
 * at first and ended when it was looked at again.
 *
 * Returns: true if something granted, or something that waits in front of
 * @position, conflicts with it.
 */
bool dsync_blocked(const struct dsync_access *access, const struct list_head *position)
{
	return access->queue->closed || dsync_ranges_ending(access) ||
	       kept_back(access, position, true);
}

/**
 * dsync_blocker - for whom does an access wait?
 * @access: on the waiting list of a locked queue
 *
 * Returns: the first that keeps it back; NULL if nobody does here, or something that
 * ends by itself.
 */
const struct dsync_access *dsync_blocker(const struct dsync_access *access)
{
	const struct dsync_queue *queue = access->queue;
	const struct dsync_access *other;

	list_for_each_entry(other, &queue->granted, node)
		if (dsync_holds_back(other, access))
			return other;
	list_for_each_entry(other, &queue->waiting, node) {
		if (other == access)
			break;
		if (dsync_conflict(other, access))
			return other;
	}
	return NULL;
}

/**
 * dsync_only_closed - does an access have to wait for something that ends by itself?
 * @access: access of a locked queue
 * @position: as for dsync_blocked()
 *
 * Returns: true if nobody holds, or waits for, what it conflicts with.
 */
bool dsync_only_closed(const struct dsync_access *access, const struct list_head *position)
{
	return closed(access) && !kept_back(access, position, false);
}

/**
 * dsync_wait_until_open - sleep until one thing is over that ends by itself
 * @queue: queue, not locked
 *
 * There may be another one: the caller looks again.
 *
 * Returns: false if the caller is being killed.
 */
bool dsync_wait_until_open(struct dsync_queue *queue)
{
	struct dsync_request *job = NULL;
	struct dsync_access *held;
	unsigned int moves;
	bool open;
	int err;

	dsync_queue_lock(queue);
	moves = queue->moves;
	open = !queue->closed && !queue->range_calls;
	list_for_each_entry(held, &queue->granted, node) {
		if (ended_job(held)) {
			job = held->request;
			job->get(job);
			break;
		}
	}
	dsync_queue_unlock(queue);
	if (!job)
		return open || !wait_var_event_killable(&queue->range_calls,
							READ_ONCE(queue->moves) != moves);
	err = dsync_job_wait_over(job);
	job->put(job);
	return !err;
}

/**
 * dsync_request_init - a request that nobody has asked for yet
 * @request: request
 * @accesses: its accesses
 * @count: how many
 */
void dsync_request_init(struct dsync_request *request, struct dsync_access *accesses,
			unsigned int count)
{
	memset(request, 0, sizeof(*request));
	request->accesses = accesses;
	request->count = count;
	init_waitqueue_head(&request->wait);
	INIT_LIST_HEAD(&request->candidate_node);
	INIT_HLIST_NODE(&request->owner_node);
}

/**
 * dsync_request_grant - move all accesses of a request to the granted lists
 * @request: request, all its queues locked; waiting, or new and not blocked
 */
void dsync_request_grant(struct dsync_request *request)
{
	bool waited = request->state == DSYNC_WAITING;
	ktime_t now = ktime_get();
	struct dsync_access *access;

	for_each_access(access, request) {
		if (waited)
			list_del(&access->node);
		list_add_tail(&access->node, &access->queue->granted);
		access->flags &= ~DSYNC_READY;
		access->flags |= DSYNC_PENDING;
		trace_dmabuf_sync_grant(access);
		access->granted_at = now;
		access->deadline = KTIME_MAX;
		dsync_count(GRANT);
	}
	dsync_cycle_unhash(request);
	request->state = DSYNC_GRANTED;
	if (!waited)
		return;
	if (request->granted) {
		request->granted(request);
	} else {
		/* Under the lock: the caller takes it before it leaves. */
		dsync_count(WAKE);
		wake_up(&request->wait);
	}
}

/**
 * dsync_request_enqueue - let a request wait on all its queues at once
 * @request: new request, all its queues locked, at least one access blocked
 */
void dsync_request_enqueue(struct dsync_request *request)
{
	struct dsync_access *access;
	int ready = 0;

	for_each_access(access, request) {
		struct list_head *position = dsync_enqueue_position(access);

		list_add_tail(&access->node, position);
		trace_dmabuf_sync_wait(access, position == &access->queue->waiting ? NULL :
				       list_entry(position, struct dsync_access, node));
		if (request->count > 1 && !dsync_blocked(access, &access->node)) {
			access->flags |= DSYNC_READY;
			ready++;
		}
	}
	atomic_set(&request->ready, ready);
	request->state = DSYNC_WAITING;
	dsync_cycle_hash(request);
	for_each_access(access, request)
		dsync_expiry_arm(access->queue);
}

/**
 * dsync_request_dequeue - as if it had never come
 * @request: waiting request, all its queues locked
 * @candidates: those who may be granted now that it does not wait any more
 */
void dsync_request_dequeue(struct dsync_request *request, struct list_head *candidates)
{
	struct dsync_access *access;

	for_each_access(access, request) {
		list_del(&access->node);
		access->flags &= ~DSYNC_READY;
		trace_dmabuf_sync_cancel(access);
	}
	dsync_cycle_unhash(request);
	request->state = DSYNC_IDLE;
	for_each_access(access, request)
		dsync_queue_scan(access->queue, candidates);
}

static void mark_ready(struct dsync_access *access, bool ready, struct list_head *candidates)
{
	struct dsync_request *request = access->request;

	if (ready == !!(access->flags & DSYNC_READY))
		goto out;
	if (ready) {
		access->flags |= DSYNC_READY;
		atomic_inc(&request->ready);
	} else {
		access->flags &= ~DSYNC_READY;
		atomic_dec(&request->ready);
	}
out:
	if (ready && atomic_read(&request->ready) == request->count &&
	    !atomic_xchg(&request->candidate, 1)) {
		request->get(request);
		list_add_tail(&request->candidate_node, candidates);
	}
}

static bool whole_write(const struct dsync_access *access)
{
	if (!(access->type & DMABUF_SYNC_WRITE))
		return false;
	if (access->type & DMABUF_SYNC_DMA)
		return dsync_dma_overlap(access, access->dmabuf, 0, 0) &&
		       dsync_dma_overlap(access, access->dmabuf, OFFSET_MAX, OFFSET_MAX);
	return access->start == 0 && access->end == OFFSET_MAX;
}

/**
 * dsync_queue_scan - grant what can be granted after a queue has changed
 * @queue: locked queue
 * @candidates: requests for several buffers that may be ready now are added;
 *	handed to dsync_grant_candidates() once the queue is unlocked
 */
void dsync_queue_scan(struct dsync_queue *queue, struct list_head *candidates)
{
	struct dsync_access *access, *next, *barrier = NULL;

	list_for_each_entry_safe(access, next, &queue->waiting, node) {
		bool blocked;

		/* Nobody but its owner passes a writer that waits for the whole buffer. */
		if (barrier && access->owner != barrier->owner)
			continue;
		blocked = dsync_blocked(access, &access->node);
		/* Looked at all those in front of it, and at all who hold: there may be many. */
		cond_resched();

		if (access->request->count > 1)
			mark_ready(access, !blocked, candidates);
		else if (!blocked)
			dsync_request_grant(access->request);

		if (blocked && !barrier && whole_write(access))
			barrier = access;
	}
	dsync_expiry_arm(queue);
}

/* Grant @request if nothing keeps any of its accesses back. */
static void grant_candidate(struct dsync_request *request, struct list_head *candidates)
{
	struct dsync_access *access;
	struct dsync_txn txn;
	int ready = 0;

	/* From here on a queue that changes has to name it again. */
	atomic_xchg(&request->candidate, 0);
	mutex_lock(request->lock_queues);
	if (request->state != DSYNC_WAITING) {
		mutex_unlock(request->lock_queues);
		return;
	}

	dsync_txn_begin(&txn);
	dsync_txn_lock_request(&txn, request);
	if (request->state == DSYNC_WAITING) {
		for_each_access(access, request) {
			if (dsync_blocked(access, &access->node)) {
				access->flags &= ~DSYNC_READY;
			} else {
				access->flags |= DSYNC_READY;
				ready++;
			}
		}
		atomic_set(&request->ready, ready);
		if (ready == request->count) {
			dsync_request_grant(request);
			/* Jobs behind a job do not wait for it any more. */
			for_each_access(access, request)
				dsync_queue_scan(access->queue, candidates);
		}
	}
	dsync_txn_end(&txn);
	mutex_unlock(request->lock_queues);
}

/**
 * dsync_grant_candidates - grant requests for several buffers
 * @candidates: filled by dsync_queue_scan(); empty afterwards. No queue is locked.
 */
void dsync_grant_candidates(struct list_head *candidates)
{
	struct dsync_request *request;

	while (!list_empty(candidates)) {
		request = list_first_entry(candidates, struct dsync_request, candidate_node);
		list_del_init(&request->candidate_node);
		grant_candidate(request, candidates);
		request->put(request);
	}
}
