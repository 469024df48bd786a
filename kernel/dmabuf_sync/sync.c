// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmabuf-sync: sync objects and the buffers in them.
 */
#include <linux/export.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "sync.h"

/**
 * DOC: sync objects
 *
 * A driver makes a sync object, names the buffers and how it will use them,
 * locks all of them at once, uses them and unlocks:
 *
 *	sync = dmabuf_sync_init("capture", &ops, priv);
 *	dmabuf_sync_get(sync, src, DMA_BUF_ACCESS_R);
 *	dmabuf_sync_get(sync, dst, DMA_BUF_ACCESS_W);
 *
 *	err = dmabuf_sync_lock(sync);
 *	if (!err) {
 *		...
 *		dmabuf_sync_unlock(sync);
 *	}
 *
 *	dmabuf_sync_put_all(sync);
 *	dmabuf_sync_fini(sync);
 *
 * DMA that ends later is submitted instead of locked, see job.c. The list of
 * buffers can be edited while the object is neither locked nor submitted. It
 * holds a reference to every dma-buf in it; a bare reservation object has to
 * be kept alive by the caller.
 */

/**
 * dmabuf_sync_is_supported - is the framework at work?
 *
 * Returns: true. (A driver built against it cannot be loaded without it.)
 */
bool dmabuf_sync_is_supported(void)
{
	return true;
}
EXPORT_SYMBOL_GPL(dmabuf_sync_is_supported);

static void release_sync(struct kref *ref)
{
	struct dmabuf_sync *sync = container_of(ref, struct dmabuf_sync, ref);

	dsync_job_fini(sync);
	kvfree(sync->request.accesses);
	mutex_destroy(&sync->mutex);
	kfree(sync);
}

void dsync_sync_put(struct dmabuf_sync *sync)
{
	kref_put(&sync->ref, release_sync);
}

/* One of creator and job in flight is through with it. */
void dsync_sync_put_user(struct dmabuf_sync *sync)
{
	if (refcount_dec_and_test(&sync->users)) {
		/* A bug of theirs, but it must not stay locked for ever. */
		if (WARN_ON_ONCE(READ_ONCE(sync->state) == DSYNC_SYNC_LOCKED))
			dsync_sync_unlock(sync);
		dmabuf_sync_put_all(sync);
		if (sync->ops && sync->ops->free)
			sync->ops->free(sync->priv);
	}
	dsync_sync_put(sync);
}

static void request_get(struct dsync_request *request)
{
	kref_get(&container_of(request, struct dmabuf_sync, request)->ref);
}

static void request_put(struct dsync_request *request)
{
	dsync_sync_put(container_of(request, struct dmabuf_sync, request));
}

/**
 * dmabuf_sync_init - make an empty sync object
 * @name: shown in debugfs and tracepoints; NULL for none
 * @ops: callbacks, or NULL; must stay until ops->free was called
 * @priv: for the callbacks
 *
 * Returns: the object, to be given to dmabuf_sync_fini(), or ERR_PTR(-ENOMEM).
 */
struct dmabuf_sync *dmabuf_sync_init(const char *name, const struct dmabuf_sync_ops *ops,
				     void *priv)
{
	struct dmabuf_sync *sync = kzalloc(sizeof(*sync), GFP_KERNEL_ACCOUNT);

	if (!sync)
		return ERR_PTR(-ENOMEM);
	kref_init(&sync->ref);
	refcount_set(&sync->users, 1);
	strscpy(sync->name, name ?: "", sizeof(sync->name));
	sync->ops = ops;
	sync->priv = priv;
	mutex_init(&sync->mutex);
	init_waitqueue_head(&sync->wait);
	dsync_request_init(&sync->request, NULL, 0);
	sync->request.get = request_get;
	sync->request.put = request_put;
	sync->request.lock_queues = &sync->mutex;
	dsync_async_init(sync);
	dsync_job_init(sync);
	return sync;
}
EXPORT_SYMBOL_GPL(dmabuf_sync_init);

/**
 * dmabuf_sync_hold - one more user of a sync object
 * @sync: object that the caller may use
 *
 * Undone by dmabuf_sync_fini().
 */
void dmabuf_sync_hold(struct dmabuf_sync *sync)
{
	kref_get(&sync->ref);
	refcount_inc(&sync->users);
}
EXPORT_SYMBOL_GPL(dmabuf_sync_hold);

/**
 * dmabuf_sync_flush - wait until callbacks that have begun have returned
 *
 * For the exit of a driver that has no sync objects left: its last ops->free
 * may not have returned yet.
 */
void dmabuf_sync_flush(void)
{
	flush_workqueue(dsync_signal_wq);
	flush_workqueue(dsync_wq);
}
EXPORT_SYMBOL_GPL(dmabuf_sync_flush);

/**
 * dmabuf_sync_fini - the creator, or another user, is through with a sync object
 * @sync: the object; nobody waits in dmabuf_sync_lock() for it
 *
 * A submitted job goes on; ops->free is called after it. An object that is
 * still locked when its last user goes is a bug: it is unlocked.
 */
void dmabuf_sync_fini(struct dmabuf_sync *sync)
{
	dsync_sync_put_user(sync);
}
EXPORT_SYMBOL_GPL(dmabuf_sync_fini);

static struct dsync_access *find_entry(struct dmabuf_sync *sync, struct dma_buf *dmabuf,
				       struct dma_resv *resv)
{
	struct dsync_access *access;

	for_each_access(access, &sync->request)
		if (access->dmabuf == dmabuf && access->resv == resv)
			return access;
	return NULL;
}

/*
 * Room for one more. Who grants takes the mutex, so it is let go while memory is looked for.
 * Returns 1 if it was, and everything may have changed.
 */
static int grow(struct dmabuf_sync *sync)
{
	unsigned int capacity = sync->capacity ? sync->capacity * 2 : 4;
	struct dsync_access *accesses;

	if (sync->request.count < sync->capacity)
		return 0;
	if (sync->request.count == DSYNC_MAX_BUFFERS)
		return -ENOSPC;
	mutex_unlock(&sync->mutex);
	accesses = kvmalloc_array(capacity, sizeof(*accesses), GFP_KERNEL_ACCOUNT);
	mutex_lock(&sync->mutex);
	if (!accesses)
		return -ENOMEM;
	if (sync->state == DSYNC_SYNC_IDLE && sync->capacity < capacity) {
		if (sync->request.count)
			memcpy(accesses, sync->request.accesses,
			       array_size(sync->request.count, sizeof(*accesses)));
		swap(sync->request.accesses, accesses);
		sync->capacity = capacity;
	}
	kvfree(accesses);
	return 1;
}

/**
 * dsync_sync_add - add a buffer, or a part of it
 * @sync: idle object
 * @dmabuf: buffer, or NULL
 * @resv: its reservation object
 * @type: DMABUF_SYNC_READ, _WRITE, _DMA
 * @start: first byte
 * @end: last byte, OFFSET_MAX for all there is
 *
 * Returns: 0; -EINVAL bad type; -EEXIST; -EBUSY; -ENOSPC; -ENOMEM.
 */
int dsync_sync_add(struct dmabuf_sync *sync, struct dma_buf *dmabuf, struct dma_resv *resv,
		   unsigned int type, loff_t start, loff_t end)
{
	struct dsync_access *access;
	int err;

	if (!(type & DMA_BUF_ACCESS_RW) || (type & ~DMA_BUF_ACCESS_DMA_RW))
		return -EINVAL;

	mutex_lock(&sync->mutex);
	do {
		err = -EBUSY;
		if (sync->state != DSYNC_SYNC_IDLE)
			goto unlock;
		err = -EEXIST;
		if (find_entry(sync, dmabuf, resv))
			goto unlock;
		err = grow(sync);
		if (err < 0)
			goto unlock;
	} while (err);

	access = &sync->request.accesses[sync->request.count++];
	memset(access, 0, sizeof(*access));
	INIT_LIST_HEAD(&access->node);
	access->request = &sync->request;
	access->owner = sync;
	if (dmabuf)
		get_dma_buf(dmabuf);
	access->dmabuf = dmabuf;
	access->exporter = dsync_exporter_find(dmabuf);
	access->resv = resv;
	access->start = start;
	access->end = end;
	access->type = type;
	if (sync->flags & DSYNC_SYNC_NO_CACHE)
		access->flags |= DSYNC_NO_CACHE;
	if (!(sync->flags & DSYNC_SYNC_USER))
		access->flags |= DSYNC_KERNEL;
unlock:
	mutex_unlock(&sync->mutex);
	return err;
}

/**
 * dmabuf_sync_get - add a dma-buf to an unlocked sync object
 * @sync: the object
 * @dmabuf: the buffer; the object takes a reference
 * @type: DMA_BUF_ACCESS_*
 *
 * Returns: 0; -EINVAL bad type; -EEXIST already in it; -EBUSY locked or
 * submitted; -ENOSPC; -ENOMEM.
 */
int dmabuf_sync_get(struct dmabuf_sync *sync, struct dma_buf *dmabuf, unsigned int type)
{
	return dsync_sync_add(sync, dmabuf, dmabuf->resv, type, 0, OFFSET_MAX);
}
EXPORT_SYMBOL_GPL(dmabuf_sync_get);

/**
 * dmabuf_sync_get_range - add a part of a dma-buf to an unlocked sync object
 * @sync: the object
 * @dmabuf: the buffer; the object takes a reference
 * @type: DMA_BUF_ACCESS_*
 * @start: first byte
 * @length: bytes
 *
 * Between CPU and DMA the range counts if the exporter can keep them apart.
 *
 * Returns: as dmabuf_sync_get(), -EINVAL also for a range that is empty or not
 * in the buffer.
 */
int dmabuf_sync_get_range(struct dmabuf_sync *sync, struct dma_buf *dmabuf, unsigned int type,
			  u64 start, u64 length)
{
	if (!length || start >= dmabuf->size || length > dmabuf->size - start)
		return -EINVAL;
	return dsync_sync_add(sync, dmabuf, dmabuf->resv, type, start, start + length - 1);
}
EXPORT_SYMBOL_GPL(dmabuf_sync_get_range);

/**
 * dmabuf_sync_get_resv - add a reservation object to an unlocked sync object
 * @sync: the object
 * @resv: reservation object of a buffer that need not be exported; the caller
 *	keeps it alive until it was put
 * @type: DMA_BUF_ACCESS_*; there is no cache maintenance without a dma-buf
 *
 * Returns: as dmabuf_sync_get().
 */
int dmabuf_sync_get_resv(struct dmabuf_sync *sync, struct dma_resv *resv, unsigned int type)
{
	return dsync_sync_add(sync, NULL, resv, type, 0, OFFSET_MAX);
}
EXPORT_SYMBOL_GPL(dmabuf_sync_get_resv);

/**
 * dmabuf_sync_put - take a dma-buf out of an unlocked sync object
 * @sync: the object
 * @dmabuf: the buffer
 *
 * Returns: 0; -ENOENT not in it; -EBUSY locked or submitted.
 */
int dmabuf_sync_put(struct dmabuf_sync *sync, struct dma_buf *dmabuf)
{
	struct dsync_access *access, *last;
	int err;

	mutex_lock(&sync->mutex);
	err = -EBUSY;
	if (sync->state != DSYNC_SYNC_IDLE)
		goto unlock;
	err = -ENOENT;
	access = find_entry(sync, dmabuf, dmabuf->resv);
	if (!access)
		goto unlock;
	err = 0;
	last = &sync->request.accesses[--sync->request.count];
	*access = *last;
	INIT_LIST_HEAD(&access->node);
unlock:
	mutex_unlock(&sync->mutex);
	if (!err)
		dma_buf_put(dmabuf);
	return err;
}
EXPORT_SYMBOL_GPL(dmabuf_sync_put);

/**
 * dmabuf_sync_put_all - take all buffers out of an unlocked sync object
 * @sync: the object
 *
 * Returns: 0; -EBUSY locked or submitted.
 */
int dmabuf_sync_put_all(struct dmabuf_sync *sync)
{
	struct dsync_access *access;
	int err = -EBUSY;

	mutex_lock(&sync->mutex);
	if (sync->state == DSYNC_SYNC_IDLE) {
		for_each_access(access, &sync->request)
			if (access->dmabuf)
				dma_buf_put(access->dmabuf);
		sync->request.count = 0;
		err = 0;
	}
	mutex_unlock(&sync->mutex);
	return err;
}
EXPORT_SYMBOL_GPL(dmabuf_sync_put_all);

/**
 * dsync_sync_attach_queues - get a queue for every buffer
 * @sync: object with its mutex held, leaving DSYNC_SYNC_IDLE; or in DSYNC_SYNC_LOCKING,
 *	and the mutex is taken before it may be granted
 *
 * Returns: 0 or -ENOMEM.
 */
int dsync_sync_attach_queues(struct dmabuf_sync *sync)
{
	struct dsync_access *access;
	ktime_t now = ktime_get();

	for_each_access(access, &sync->request) {
		access->queue = dsync_queue_get(access->resv);
		if (!access->queue)
			goto undo;
		access->pid = get_pid(task_tgid(current));
		access->granted_at = now;
	}
	return 0;

undo:
	while (access-- != sync->request.accesses) {
		dsync_queue_put(access->queue);
		access->queue = NULL;
		put_pid(access->pid);
		access->pid = NULL;
	}
	return -ENOMEM;
}

/**
 * dsync_sync_detach_queues_locked - the accesses are off all queues
 * @sync: object, its mutex held
 * @state: what it is from now on
 */
void dsync_sync_detach_queues_locked(struct dmabuf_sync *sync, enum dmabuf_sync_state state)
{
	struct dsync_access *access;

	for_each_access(access, &sync->request) {
		dsync_queue_put(access->queue);
		access->queue = NULL;
		put_pid(access->pid);
		access->pid = NULL;
		access->flags &= DSYNC_NO_CACHE | DSYNC_KERNEL;
	}
	sync->state = state;
}

/**
 * dsync_sync_detach_queues - the accesses are off all queues
 * @sync: object
 * @state: what it is from now on
 */
void dsync_sync_detach_queues(struct dmabuf_sync *sync, enum dmabuf_sync_state state)
{
	mutex_lock(&sync->mutex);
	dsync_sync_detach_queues_locked(sync, state);
	mutex_unlock(&sync->mutex);
}
