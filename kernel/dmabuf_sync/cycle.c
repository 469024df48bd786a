// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmabuf-sync: cycles of those who hold and wait.
 */
#include <linux/hashtable.h>

#include "dsync.h"
#include "trace.h"

/**
 * DOC: cycles
 *
 * Only posix owners can hold one buffer and wait for another. Before such an
 * owner goes to sleep, the graph of who waits for whom is searched from it:
 *
 * - a *hold* edge leads from a request to every request of a posix owner that
 *   holds something it conflicts with;
 * - an *order* edge leads to every request that waits in front of it on the
 *   same queue and conflicts with it.
 *
 * A cycle of hold edges only is a deadlock that fcntl(2) reports: EDEADLK for
 * the request that would close it. A cycle with an order edge in it exists
 * only because of our queue: the request in front is no better off for being
 * in front, since it waits (through others) for the one behind it. So the one
 * behind is moved in front of it, and the search starts again. No edge is
 * turned round twice, and there are limits: what is left then is undone by the
 * deadlines of the holds.
 *
 * All queues that the search comes by stay locked until it is over: what it
 * sees is one consistent state, and two requests that would close a cycle
 * together cannot miss each other, because each is in the table of waiting
 * owners before it searches.
 *
 * Open file descriptions are not searched for, as fcntl(2) says; sync objects
 * hold nothing while they wait, so no edge leads on from a buffer they hold.
 */

/* Threads of one owner that are looked at; the others only wait. */
#define MAX_WAITS 16
/* Cycles that one request undoes; what is left is undone by deadlines. */
#define MAX_MOVES 16
/* Edges that are looked at, and queues locked: others wait for these meanwhile. */
#define MAX_STEPS 50000

static DEFINE_HASHTABLE(waiting_owners, 8);
static DEFINE_SPINLOCK(waiting_owners_lock);
static atomic64_t last_epoch;

static bool is_posix_request(const struct dsync_request *request)
{
	return request->accesses->flags & DSYNC_POSIX;
}

/**
 * dsync_cycle_hash - let searches find a request that begins to wait
 * @request: request, its queues locked
 */
void dsync_cycle_hash(struct dsync_request *request)
{
	if (!is_posix_request(request))
		return;
	spin_lock(&waiting_owners_lock);
	hash_add(waiting_owners, &request->owner_node, (unsigned long)request->accesses->owner);
	spin_unlock(&waiting_owners_lock);
}

/**
 * dsync_cycle_unhash - undo dsync_cycle_hash()
 * @request: request, its queues locked; need not have been hashed
 */
void dsync_cycle_unhash(struct dsync_request *request)
{
	if (hlist_unhashed(&request->owner_node))
		return;
	spin_lock(&waiting_owners_lock);
	hash_del(&request->owner_node);
	spin_unlock(&waiting_owners_lock);
}

/**
 * struct root - somebody from whom to search
 * @queue: where it waits; a reference
 * @access: only to be compared with those that wait there: it may have been served, and be gone
 * @passed: what it has overtaken, only compared
 */
struct root {
	struct dsync_queue *queue;
	const struct dsync_access *access, *passed;
};

/**
 * struct search - breadth-first searches, one after the other
 * @txn: all queues seen
 * @start: the request from which it is searched now
 * @todo: requests whose edges have not been followed
 * @epoch: marks what this search has seen
 * @end: the request from which an edge closes the cycle
 * @from: access of @end that this edge leads from
 * @to: access it leads to if it is an order edge, else NULL
 * @hold_edges_only: look for deadlocks only
 * @steps: how many may still be made
 * @roots: the request that is about to wait, then those that have overtaken others
 * @root_count: how many
 */
struct search {
	struct dsync_txn txn;
	struct dsync_request *start;
	struct list_head todo;
	u64 epoch;
	struct dsync_request *end;
	struct dsync_access *from;
	struct dsync_access *to;
	bool hold_edges_only;
	unsigned int steps;
	struct root roots[1 + MAX_MOVES];
	unsigned int root_count;
};

/* If so, all its queues are locked. */
static bool visited(const struct search *search, const struct dsync_request *request)
{
	return READ_ONCE(request->cycle.epoch) == search->epoch;
}

static void visit(struct search *search, struct dsync_request *next,
		  struct dsync_request *parent, struct dsync_access *from,
		  struct dsync_access *to)
{
	if (visited(search, next))
		return;
	WRITE_ONCE(next->cycle.epoch, search->epoch);
	next->cycle.parent = parent;
	next->cycle.from = from;
	next->cycle.to = to;
	list_add_tail(&next->cycle.node, &search->todo);
}

/*
 * Visit all that a posix owner waits for. A request in the table is only safe
 * to look at with its queue locked.
 */
static int visit_owner(struct search *search, const void *owner,
		       struct dsync_request *parent, struct dsync_access *from)
{
	struct dsync_queue *queues[MAX_WAITS];
	struct dsync_request *request;
	struct dsync_access *access;
	unsigned int count = 0, i;
	int err = 0;

	spin_lock(&waiting_owners_lock);
	hash_for_each_possible(waiting_owners, request, owner_node, (unsigned long)owner) {
		if (request->accesses->owner != owner)
			continue;
		queues[count] = request->accesses->queue;
		dsync_queue_ref(queues[count]);
		if (++count == MAX_WAITS)
			break;
	}
	spin_unlock(&waiting_owners_lock);

	for (i = 0; i < count; i++) {
		if (!err)
			err = dsync_txn_lock(&search->txn, queues[i]);
		if (!err)
			list_for_each_entry(access, &queues[i]->waiting, node)
				if (access->owner == owner)
					visit(search, access->request, parent, from, NULL);
		dsync_queue_put(queues[i]);
	}
	return err;
}

/* False if it has taken long enough. */
static bool step(struct search *search)
{
	if (!search->steps)
		return false;
	search->steps--;
	cond_resched();
	return true;
}

static void close_cycle(struct search *search, struct dsync_request *request,
			struct dsync_access *from, struct dsync_access *to)
{
	search->end = request;
	search->from = from;
	search->to = to;
}

/* Returns -EDEADLK if all queues were unlocked. One of its queues is locked. */
static int lock_request(struct search *search, struct dsync_request *request)
{
	struct dsync_access *access;
	int err;

	for_each_access(access, request) {
		struct dsync_queue *queue = access->queue;

		/* More than enough: no further request is looked at, but this one is locked. */
		search->steps -= min(search->steps, 1U);
		/* Should all be unlocked, the request may go, and its references with it. */
		dsync_queue_ref(queue);
		err = dsync_txn_lock(&search->txn, queue);
		dsync_queue_put(queue);
		if (err)
			return err;
	}
	return 0;
}

/*
 * Follow the edges of one access. Returns 1 if one of them closes a cycle,
 * -EDEADLK if all queues were unlocked, else 0.
 */
static int follow_access(struct search *search, struct dsync_request *request,
			 struct dsync_access *access)
{
	const void *start_owner = search->start->accesses->owner;
	struct dsync_queue *queue = access->queue;
	struct dsync_access *other;
	int err;

	list_for_each_entry(other, &queue->granted, node) {
		if (!step(search))
			return 0;
		if (!(other->flags & DSYNC_POSIX) || !dsync_holds_back(other, access))
			continue;
		/* On its way out already: it waits for nobody. */
		if (other->flags & (DSYNC_LEAVING | DSYNC_ENDING))
			continue;
		if (other->owner == start_owner) {
			close_cycle(search, request, access, NULL);
			return 1;
		}
		err = visit_owner(search, other->owner, request, access);
		if (err)
			return err;
	}
	if (search->hold_edges_only)
		return 0;
	list_for_each_entry(other, &queue->waiting, node) {
		if (other == access || !step(search))
			break;
		if (!dsync_conflict(other, access))
			continue;
		if (other->request != search->start && visited(search, other->request))
			continue;
		/* All its queues: another search must not find it at the same time. */
		err = lock_request(search, other->request);
		if (err)
			return err;
		if (other->request == search->start) {
			close_cycle(search, request, access, other);
			return 1;
		}
		visit(search, other->request, request, access, other);
	}
	return 0;
}

static int follow(struct search *search, struct dsync_request *request)
{
	struct dsync_access *access;
	int err;

	for_each_access(access, request) {
		err = follow_access(search, request, access);
		if (err)
			return err;
	}
	return 0;
}

/* Returns 1 with search->end set, 0 if there is no cycle, -EDEADLK to start again. */
static int find_cycle(struct search *search, const struct root *root)
{
	struct dsync_access *access;
	struct dsync_request *request;
	int ret;

	INIT_LIST_HEAD(&search->todo);
	search->epoch = atomic64_inc_return(&last_epoch);
	ret = dsync_txn_lock(&search->txn, root->queue);
	if (ret)
		return ret;
	search->start = NULL;
	list_for_each_entry(access, &root->queue->waiting, node)
		if (access == root->access)
			search->start = access->request;
	if (!search->start)
		return 0;

	visit(search, search->start, NULL, NULL, NULL);
	while (!list_empty(&search->todo)) {
		request = list_first_entry(&search->todo, struct dsync_request, cycle.node);
		list_del(&request->cycle.node);
		ret = follow(search, request);
		if (ret)
			return ret;
	}
	return 0;
}

/*
 * A sync object keeps its place in all its queues, or two of them could end up
 * in front of each other; and what was turned round stays.
 */
static bool may_move(const struct search *search, const struct dsync_access *from,
		     const struct dsync_access *to)
{
	unsigned int i;

	if (!to || !is_posix_request(from->request))
		return false;
	for (i = 1; i < search->root_count; i++)
		if (search->roots[i].access == to && search->roots[i].passed == from)
			return false;
	return true;
}

/* Or else it is a deadlock. */
static bool has_order_edge(const struct search *search)
{
	const struct dsync_request *request;

	if (search->to)
		return true;
	for (request = search->end; request->cycle.parent; request = request->cycle.parent)
		if (request->cycle.to)
			return true;
	return false;
}

/*
 * Of the order edges on the cycle, take the one closest to the start: who
 * waits there holds something that the cycle goes through.
 */
static bool overtake(struct search *search, struct list_head *candidates)
{
	struct dsync_access *from = NULL, *to = NULL;
	struct dsync_request *request;

	if (may_move(search, search->from, search->to)) {
		from = search->from;
		to = search->to;
	}
	for (request = search->end; request->cycle.parent; request = request->cycle.parent) {
		if (!may_move(search, request->cycle.from, request->cycle.to))
			continue;
		from = request->cycle.from;
		to = request->cycle.to;
	}
	if (!from || search->root_count == ARRAY_SIZE(search->roots))
		return false;

	/* From now on @to waits for @from: that edge is not to be turned back. */
	dsync_queue_ref(from->queue);
	search->roots[search->root_count++] = (struct root){ from->queue, from, to };
	dsync_order_overtake(from, to);
	trace_dmabuf_sync_overtake(from, to);
	dsync_count(OVERTAKE);
	dsync_queue_scan(from->queue, candidates);
	return true;
}

/* Returns as find_cycle(). A deadlock between others is for them to find. */
static int find_cycle_of_order(struct search *search)
{
	unsigned int i;
	int ret = 0;

	search->hold_edges_only = false;
	search->steps = MAX_STEPS;
	for (i = 0; i < search->root_count && !ret; i++) {
		ret = find_cycle(search, &search->roots[i]);
		if (i && ret > 0 && !has_order_edge(search))
			ret = 0;
	}
	return ret;
}

/**
 * dsync_cycle_deadlocks - would this request wait for ever?
 * @request: enqueued request of a posix owner; nothing is locked
 *
 * Cycles that exist only by the order of waiting are undone on the way.
 *
 * Returns: true if @request closes a cycle of held accesses. It is off its
 * queue then.
 */
bool dsync_cycle_deadlocks(struct dsync_request *request)
{
	struct search search = {
		.roots = { { request->accesses->queue, request->accesses } },
		.root_count = 1,
	};
	LIST_HEAD(candidates);
	bool deadlocks = false;
	unsigned int i;
	int ret;

	dsync_txn_begin(&search.txn);
	for (;;) {
		search.hold_edges_only = true;
		search.steps = MAX_STEPS;
		ret = find_cycle(&search, &search.roots[0]);
		if (ret == -EDEADLK)
			continue;
		if (ret) {
			deadlocks = true;
			trace_dmabuf_sync_deadlock(request->accesses);
			dsync_count(DEADLOCK);
			dsync_request_dequeue(request, &candidates);
			break;
		}
		ret = find_cycle_of_order(&search);
		/* The last edge of a deadlock may have come between the two searches. */
		if (ret == -EDEADLK || (ret && !has_order_edge(&search)))
			continue;
		if (!ret || !overtake(&search, &candidates))
			break;
	}
	dsync_txn_end(&search.txn);
	for (i = 1; i < search.root_count; i++)
		dsync_queue_put(search.roots[i].queue);
	dsync_grant_candidates(&candidates);
	return deadlocks;
}
