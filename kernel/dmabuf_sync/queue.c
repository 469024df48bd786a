// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmabuf-sync: queues, found by reservation object and locked in any number.
 */
#include <linux/hash.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "dsync.h"

/**
 * DOC: queues
 *
 * A queue is made by the first who wants to use a buffer and freed by the last
 * to let go of it. A hash table finds it; the table has a fixed size, since
 * only buffers in use are in it.
 *
 * Several queues are locked in any order through a transaction, which is a
 * wound/wait context: the older one wins, the younger drops everything and
 * starts again:
 *
 *	dsync_txn_begin(&txn);
 * again:
 *	for each queue {
 *		if (dsync_txn_lock(&txn, queue) == -EDEADLK)
 *			goto again;
 *	}
 *	...
 *	dsync_txn_end(&txn);
 */

static DEFINE_WW_CLASS(dsync_ww_class);

struct dsync_bucket {
	spinlock_t lock;	/* @queues, and dsync_queue.refs of those in it */
	struct hlist_head queues;
};

#define DSYNC_BUCKET_BITS 12

static struct dsync_bucket *buckets;
static struct kmem_cache *queue_cache;
static struct kmem_cache *access_cache;

static struct dsync_bucket *bucket_of(const struct dma_resv *resv)
{
	return &buckets[hash_ptr(resv, DSYNC_BUCKET_BITS)];
}

static struct dsync_queue *bucket_find(struct dsync_bucket *bucket, const struct dma_resv *resv)
{
	struct dsync_queue *queue;

	hlist_for_each_entry(queue, &bucket->queues, node)
		if (queue->resv == resv)
			return queue;
	return NULL;
}

/**
 * dsync_queue_find - the queue of a reservation object, if it has one
 * @resv: reservation object
 *
 * Returns: a reference, or NULL.
 */
struct dsync_queue *dsync_queue_find(struct dma_resv *resv)
{
	struct dsync_bucket *bucket = bucket_of(resv);
	struct dsync_queue *queue;

	spin_lock(&bucket->lock);
	queue = bucket_find(bucket, resv);
	if (queue)
		queue->refs++;
	spin_unlock(&bucket->lock);
	return queue;
}

/**
 * dsync_queue_get - the queue of a reservation object, made if it has none
 * @resv: reservation object, kept alive by the caller
 *
 * Returns: a reference, or NULL when memory is short.
 */
struct dsync_queue *dsync_queue_get(struct dma_resv *resv)
{
	struct dsync_bucket *bucket = bucket_of(resv);
	struct dsync_queue *queue, *made;

	queue = dsync_queue_find(resv);
	if (queue)
		return queue;

	made = kmem_cache_alloc(queue_cache, GFP_KERNEL_ACCOUNT);
	if (!made)
		return NULL;
	made->resv = resv;
	made->refs = 1;
	made->beginnings = 0;
	made->range_calls = 0;
	made->moves = 0;
	made->closed = 0;
	ww_mutex_init(&made->lock, &dsync_ww_class);
	INIT_LIST_HEAD(&made->ranges);
	INIT_LIST_HEAD(&made->granted);
	INIT_LIST_HEAD(&made->waiting);
	made->expiry = NULL;

	spin_lock(&bucket->lock);
	queue = bucket_find(bucket, resv);
	if (queue) {
		queue->refs++;
	} else {
		hlist_add_head(&made->node, &bucket->queues);
		queue = made;
	}
	spin_unlock(&bucket->lock);

	if (queue != made) {
		ww_mutex_destroy(&made->lock);
		kmem_cache_free(queue_cache, made);
	}
	return queue;
}

/**
 * dsync_queue_ref - another reference to a queue that the caller has one to
 * @queue: queue
 */
void dsync_queue_ref(struct dsync_queue *queue)
{
	struct dsync_bucket *bucket = bucket_of(queue->resv);

	spin_lock(&bucket->lock);
	queue->refs++;
	spin_unlock(&bucket->lock);
}

/**
 * dsync_queue_put - give a reference back; the last one frees the queue
 * @queue: queue, not locked by the caller
 */
void dsync_queue_put(struct dsync_queue *queue)
{
	struct dsync_bucket *bucket = bucket_of(queue->resv);
	bool last;

	spin_lock(&bucket->lock);
	last = !--queue->refs;
	if (last)
		hlist_del(&queue->node);
	spin_unlock(&bucket->lock);
	if (!last)
		return;

	WARN_ON_ONCE(!list_empty(&queue->granted) || !list_empty(&queue->waiting) ||
		     !list_empty(&queue->ranges));
	ww_mutex_destroy(&queue->lock);
	kfree(queue->expiry);
	kmem_cache_free(queue_cache, queue);
}

/**
 * dsync_queue_for_each - visit every queue, each locked while it is visited
 * @func: called with the queue locked
 * @data: handed to @func
 *
 * Queues made or freed meanwhile may or may not be visited.
 */
void dsync_queue_for_each(void (*func)(struct dsync_queue *queue, void *data), void *data)
{
	unsigned int i;

	for (i = 0; i < 1U << DSYNC_BUCKET_BITS; i++) {
		struct dsync_bucket *bucket = &buckets[i];
		struct dsync_queue *queue, *next;

		/* Nearly all of them. */
		if (hlist_empty(&bucket->queues))
			continue;
		spin_lock(&bucket->lock);
		queue = hlist_entry_safe(bucket->queues.first, struct dsync_queue, node);
		if (queue)
			queue->refs++;
		spin_unlock(&bucket->lock);

		while (queue) {
			dsync_queue_lock(queue);
			func(queue, data);
			dsync_queue_unlock(queue);

			/* Our reference keeps the queue, and so its place, in the bucket. */
			spin_lock(&bucket->lock);
			next = hlist_entry_safe(queue->node.next, struct dsync_queue, node);
			if (next)
				next->refs++;
			spin_unlock(&bucket->lock);
			dsync_queue_put(queue);
			queue = next;
		}
	}
}

/**
 * dsync_txn_begin - start to lock several queues
 * @txn: transaction, ended by dsync_txn_end()
 */
void dsync_txn_begin(struct dsync_txn *txn)
{
	ww_acquire_init(&txn->ctx, &dsync_ww_class);
	INIT_LIST_HEAD(&txn->locked);
}

static void txn_unlock_all(struct dsync_txn *txn)
{
	struct dsync_queue *queue, *next;

	list_for_each_entry_safe(queue, next, &txn->locked, txn_node) {
		list_del(&queue->txn_node);
		ww_mutex_unlock(&queue->lock);
		dsync_queue_put(queue);
	}
}

/**
 * dsync_txn_lock - lock one more queue
 * @txn: transaction
 * @queue: queue, referenced by the caller; may be locked already
 *
 * The transaction has a reference of its own to each queue it has locked.
 *
 * Returns: 0, or -EDEADLK when an older transaction was in the way: then all
 * that was locked before has been let go (and @queue is locked): start again.
 */
int dsync_txn_lock(struct dsync_txn *txn, struct dsync_queue *queue)
{
	int err = ww_mutex_lock(&queue->lock, &txn->ctx);

	if (err == -EALREADY)
		return 0;
	if (err == -EDEADLK) {
		txn_unlock_all(txn);
		ww_mutex_lock_slow(&queue->lock, &txn->ctx);
	}
	dsync_queue_ref(queue);
	list_add(&queue->txn_node, &txn->locked);
	return err;
}

/**
 * dsync_txn_lock_request - lock all queues of a request
 * @txn: transaction, with nothing locked that the caller relies on
 * @request: request whose queue pointers are stable
 */
void dsync_txn_lock_request(struct dsync_txn *txn, struct dsync_request *request)
{
	struct dsync_access *access;

again:
	for_each_access(access, request)
		if (dsync_txn_lock(txn, access->queue) == -EDEADLK)
			goto again;
}

/**
 * dsync_txn_end - unlock all queues
 * @txn: transaction
 */
void dsync_txn_end(struct dsync_txn *txn)
{
	ww_acquire_done(&txn->ctx);
	txn_unlock_all(txn);
	ww_acquire_fini(&txn->ctx);
}

/**
 * dsync_access_alloc - memory for an access that is not part of something else
 *
 * Returns: zeroed memory or NULL.
 */
struct dsync_access *dsync_access_alloc(void)
{
	return kmem_cache_zalloc(access_cache, GFP_KERNEL_ACCOUNT);
}

/**
 * dsync_access_free - free an access of dsync_access_alloc() and what it holds
 * @access: access that is on no list; its queue reference was given back
 */
void dsync_access_free(struct dsync_access *access)
{
	put_pid(access->pid);
	kmem_cache_free(access_cache, access);
}

int dsync_queue_init(void)
{
	unsigned int i;

	buckets = kvmalloc_array(1U << DSYNC_BUCKET_BITS, sizeof(*buckets), GFP_KERNEL);
	if (!buckets)
		return -ENOMEM;
	for (i = 0; i < 1U << DSYNC_BUCKET_BITS; i++) {
		spin_lock_init(&buckets[i].lock);
		INIT_HLIST_HEAD(&buckets[i].queues);
	}

	queue_cache = KMEM_CACHE(dsync_queue, 0);
	if (!queue_cache)
		goto free_buckets;
	access_cache = KMEM_CACHE(dsync_access, 0);
	if (!access_cache)
		goto destroy_queue_cache;
	return 0;

destroy_queue_cache:
	kmem_cache_destroy(queue_cache);
free_buckets:
	kvfree(buckets);
	return -ENOMEM;
}

void dsync_queue_exit(void)
{
	kmem_cache_destroy(access_cache);
	kmem_cache_destroy(queue_cache);
	kvfree(buckets);
}
