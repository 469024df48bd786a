/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmabuf-sync: what its files share.
 */
#ifndef DSYNC_H
#define DSYNC_H

#include <linux/dma-buf.h>
#include <linux/dma-resv.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/pid.h>
#include <linux/refcount.h>
#include <linux/wait.h>
#include <linux/wait_bit.h>
#include <linux/workqueue.h>
#include <linux/ww_mutex.h>

#include <linux/dmabuf-sync.h>
#include "../compat.h"

/**
 * DOC: objects, owners and locks
 *
 * A *queue* stands for one &dma_resv that is in use or waited for: accesses
 * that are granted, and accesses that wait, first come first served. It
 * belongs to its accesses, each of which holds a reference: a buffer that
 * nobody uses has no queue.
 *
 * An *access* is {owner, buffer, byte range, READ or WRITE, CPU or DMA}. It
 * sits on exactly one list of one queue. Those of a sync object belong to the
 * sync object; those of fcntl() belong to the queue once granted.
 *
 * A *request* ties the accesses together that one caller asked for at once:
 * they are granted together or not at all. It belongs to the caller, who does
 * not leave before it is granted, or taken off all its queues.
 *
 * Which bytes an fcntl() owner holds is not written down here: the posix lock
 * records of the inode say it, with all their splitting and merging. The
 * owner's access in the queue adds the deadline and the cache state.
 *
 * Lock order (outermost first):
 *
 *   dmabuf_sync.mutex     state and buffer list of one sync object
 *   dsync_queue.lock      wound/wait; the lists of one queue and the flags of
 *                         the accesses on them. One without, or any number
 *                         with, an acquire context (struct dsync_txn). Held
 *                         for list work and posix_lock_file() only.
 *   file_lock_context.flc_lock, dsync_bucket.lock, owner and revoked tables
 *
 * No exporter, driver or fence callback runs under any of them, and no
 * dma_resv is locked under them or the other way round. Nothing here is taken
 * to signal a fence.
 */

struct dsync_expiry;
struct dsync_queue;
struct dsync_request;
struct seq_file;

/* dsync_access.flags, under the lock of its queue */
#define DSYNC_POSIX	BIT(0)	/* owner is a files_struct, ranges in the inode */
#define DSYNC_OFD	BIT(1)	/* owner is a struct file, ranges in the inode */
#define DSYNC_JOB	BIT(2)	/* has a fence; jobs are ordered by fences */
#define DSYNC_NO_CACHE	BIT(3)	/* no begin/end_cpu_access for it */
#define DSYNC_PENDING	BIT(4)	/* granted; owner still waits for fences or caches */
#define DSYNC_BEGINNING	BIT(5)	/* begin_cpu_access is running */
#define DSYNC_LEAVING	BIT(6)	/* given back: the CPU may pass, DMA may not yet */
#define DSYNC_ENDING	BIT(7)	/* end_cpu_access is running: nobody may pass */
#define DSYNC_REVOKED	BIT(8)	/* taken away, the owner does not know yet */
#define DSYNC_READY	BIT(9)	/* waiting, and nothing here keeps it back */
#define DSYNC_KERNEL	BIT(10)	/* asked for by a driver */
#define DSYNC_TOLD	BIT(11)	/* was revoked, and the owner knows */
#define DSYNC_REFUSED	BIT(12)	/* a driver's, overdue: somebody did not wait for its end */

#define DSYNC_FCNTL	(DSYNC_POSIX | DSYNC_OFD)

/* Separate pieces of one dma-buf that one owner may have locked by fcntl(). */
#define DSYNC_MAX_RECORDS 1024

/* dsync_access.begun: which begin_cpu_access calls wait for their end */
#define DSYNC_BEGUN_READ	BIT(0)	/* DMA_FROM_DEVICE */
#define DSYNC_BEGUN_WRITE	BIT(1)	/* DMA_BIDIRECTIONAL */

/**
 * struct dsync_access - one owner's use of, or wish for, one buffer
 * @node: in dsync_queue.granted or .waiting
 * @queue: reference, NULL while neither waiting nor granted
 * @request: who asked; NULL for a granted fcntl access
 * @owner: files_struct, file or sync object; compared, never followed
 * @dmabuf: NULL if only the reservation object is known. A sync object holds a
 *	reference. An fcntl access holds none (it would keep the last close
 *	from coming): it is gone before the file is.
 * @exporter: of @dmabuf, if it has registered hooks
 * @resv: what it is an access to
 * @start: first byte
 * @end: last byte
 * @deadline: CLOCK_MONOTONIC ns after which it may be revoked, KTIME_MAX for never
 * @granted_at: CLOCK_MONOTONIC ns, or when it was asked for while it waits
 * @pid: reference; process that asked
 * @flags: DSYNC_*
 * @type: DMABUF_SYNC_READ, _WRITE, _DMA
 * @begun: DSYNC_BEGUN_*
 */
struct dsync_access {
	struct list_head node;
	struct dsync_queue *queue;
	struct dsync_request *request;
	const void *owner;
	struct dma_buf *dmabuf;
	const struct dmabuf_sync_exporter *exporter;
	struct dma_resv *resv;
	loff_t start;
	loff_t end;
	ktime_t deadline;
	ktime_t granted_at;
	struct pid *pid;
	u16 flags;
	u8 type;
	u8 begun;
};

enum dsync_range_state {
	DSYNC_RANGE_BEGINNING,	/* begin_range is running */
	DSYNC_RANGE_BEGUN,
	DSYNC_RANGE_ENDING,	/* end_range is running: nobody may pass */
};

/**
 * struct dsync_range - bytes that were begun and not ended, see ranges.c
 * @node: in dsync_queue.ranges
 * @dmabuf: buffer; alive, since somebody holds it or ends this
 * @exporter: of @dmabuf
 * @start: first byte
 * @end: last byte
 * @write: begun for writing
 * @state: what the exporter is doing
 */
struct dsync_range {
	struct list_head node;
	struct dma_buf *dmabuf;
	const struct dmabuf_sync_exporter *exporter;
	loff_t start;
	loff_t end;
	bool write;
	enum dsync_range_state state;
};

/**
 * struct dsync_queue - who uses and who waits for one reservation object
 * @node: in the hash table, under its bucket's lock
 * @resv: key; only followed through an access that keeps it alive
 * @refs: under the bucket's lock
 * @beginnings: begin_cpu_access calls that are running; changes under @lock
 * @range_calls: begin_range and end_range calls that are running; changes under @lock
 * @moves: counts the ends of these, and how often it was opened; changes under @lock
 * @lock: all below
 * @closed: nobody is granted anything while this is not zero
 * @ranges: struct dsync_range, by their first bytes
 * @granted: accesses that are held
 * @waiting: accesses in the order in which they will be served
 * @txn_node: in dsync_txn.locked
 * @expiry: deadline timer, made when somebody waits for the first time
 */
struct dsync_queue {
	struct hlist_node node;
	struct dma_resv *resv;
	unsigned int refs;
	unsigned int beginnings;
	unsigned int range_calls;
	unsigned int moves;
	unsigned int closed;
	struct ww_mutex lock;
	struct list_head ranges;
	struct list_head granted;
	struct list_head waiting;
	struct list_head txn_node;
	struct dsync_expiry *expiry;
};

enum dsync_request_state {
	DSYNC_IDLE,
	DSYNC_WAITING,
	DSYNC_GRANTED,
};

/**
 * struct dsync_request - accesses that are granted together
 * @accesses: array
 * @count: length of @accesses, at least one
 * @state: changes under the locks of all its queues
 * @ready: how many of @accesses have DSYNC_READY
 * @granted: told instead of waking @wait; must not sleep
 * @wait: the caller sleeps here
 * @get: take a reference to what @accesses live in (sync objects only)
 * @put: give it back
 * @lock_queues: mutex that keeps the queue pointers in place (sync objects only)
 * @device: of a job, if it has a view of memory of its own; compared, never followed
 * @candidate_node: on the list of a granter
 * @candidate: somebody has it on such a list
 * @owner_node: in the table of waiting posix owners
 * @cycle: scratch of the search for cycles
 */
struct dsync_request {
	struct dsync_access *accesses;
	unsigned int count;
	enum dsync_request_state state;
	atomic_t ready;
	void (*granted)(struct dsync_request *request);
	wait_queue_head_t wait;
	void (*get)(struct dsync_request *request);
	void (*put)(struct dsync_request *request);
	struct mutex *lock_queues;	/* see above */
	const void *device;
	struct list_head candidate_node;
	atomic_t candidate;
	struct hlist_node owner_node;
	struct {
		struct list_head node;
		struct dsync_request *parent;
		struct dsync_access *from, *to;
		u64 epoch;
	} cycle;
};

/**
 * struct dsync_txn - several queues locked at once
 * @ctx: wound/wait context
 * @locked: queues, by dsync_queue.txn_node
 */
struct dsync_txn {
	struct ww_acquire_ctx ctx;
	struct list_head locked;
};

#define for_each_access(access, request) \
	for ((access) = (request)->accesses; \
	     (access) < (request)->accesses + (request)->count; (access)++)

/* params.c */
ktime_t dsync_hold_time(unsigned int hold_timeout_ms);
unsigned int dsync_hold_timeout_ms(void);
unsigned int dsync_max_hold_timeout_ms(void);
unsigned long dsync_job_timeout(void);
unsigned int dsync_max_user_objects(void);
unsigned int dsync_max_user_jobs(void);

/* queue.c */
int dsync_queue_init(void);
void dsync_queue_exit(void);
struct dsync_queue *dsync_queue_get(struct dma_resv *resv);
struct dsync_queue *dsync_queue_find(struct dma_resv *resv);
void dsync_queue_ref(struct dsync_queue *queue);
void dsync_queue_put(struct dsync_queue *queue);
void dsync_queue_for_each(void (*func)(struct dsync_queue *queue, void *data), void *data);
void dsync_txn_begin(struct dsync_txn *txn);
int dsync_txn_lock(struct dsync_txn *txn, struct dsync_queue *queue);
void dsync_txn_lock_request(struct dsync_txn *txn, struct dsync_request *request);
void dsync_txn_end(struct dsync_txn *txn);
struct dsync_access *dsync_access_alloc(void);
void dsync_access_free(struct dsync_access *access);

static inline void dsync_queue_lock(struct dsync_queue *queue)
{
	ww_mutex_lock(&queue->lock, NULL);
}

static inline void dsync_queue_unlock(struct dsync_queue *queue)
{
	ww_mutex_unlock(&queue->lock);
}

/* After a change of something that others wait for without a lock. */
static inline void dsync_wake_var(void *var)
{
	/* Pairs with wait_var_event(): they see the change, or we see them wait. */
	smp_mb();
	wake_up_var(var);
}

/* Something is over that others may wait for. The queue is locked. */
static inline void dsync_queue_moved(struct dsync_queue *queue)
{
	WRITE_ONCE(queue->moves, queue->moves + 1);
	dsync_wake_var(&queue->range_calls);
}

/* Nobody is granted anything until it is open again. The queue is locked. */
static inline void dsync_queue_close(struct dsync_queue *queue)
{
	WRITE_ONCE(queue->closed, queue->closed + 1);
}

static inline void dsync_queue_open(struct dsync_queue *queue)
{
	WRITE_ONCE(queue->closed, queue->closed - 1);
	dsync_queue_moved(queue);
}

/* grant.c */
bool dsync_dma_overlap(const struct dsync_access *access, const struct dma_buf *dmabuf,
		       loff_t start, loff_t end);
bool dsync_conflict(const struct dsync_access *a, const struct dsync_access *b);
bool dsync_holds_back(const struct dsync_access *held, const struct dsync_access *access);
bool dsync_blocked(const struct dsync_access *access, const struct list_head *position);
const struct dsync_access *dsync_blocker(const struct dsync_access *access);
bool dsync_only_closed(const struct dsync_access *access, const struct list_head *position);
bool dsync_wait_until_open(struct dsync_queue *queue);
void dsync_request_init(struct dsync_request *request, struct dsync_access *accesses,
			unsigned int count);
void dsync_request_grant(struct dsync_request *request);
void dsync_request_enqueue(struct dsync_request *request);
void dsync_request_dequeue(struct dsync_request *request, struct list_head *candidates);
void dsync_queue_scan(struct dsync_queue *queue, struct list_head *candidates);
void dsync_grant_candidates(struct list_head *candidates);

/* order.c */
struct list_head *dsync_enqueue_position(const struct dsync_access *access);
void dsync_order_overtake(struct dsync_access *from, struct dsync_access *to);

/* release.c */
bool dsync_uses_cache(const struct dsync_access *access);
void dsync_release(struct dsync_access *access);
void dsync_release_request(struct dsync_request *request);
void dsync_finish_release(struct dsync_access *access);

/* wait.c */
int dsync_request_wait(struct dsync_request *request, ktime_t until);
void dsync_request_cancel(struct dsync_request *request);
long dsync_timeout_until(ktime_t until);

/* cycle.c */
void dsync_cycle_hash(struct dsync_request *request);
void dsync_cycle_unhash(struct dsync_request *request);
bool dsync_cycle_deadlocks(struct dsync_request *request);

/* fences.c */
bool dsync_fences_signalled(const struct dsync_access *access);
int dsync_fences_wait(const struct dsync_access *access, ktime_t until);

/* job_wait.c */
bool dsync_job_has_ended(const struct dsync_request *request);
int dsync_job_wait_over(const struct dsync_request *request);

/* job_fence.c */
bool dsync_fence_elsewhere(struct dma_fence *fence, const struct dsync_access *access);

/**
 * struct dsync_gate - run a work item once a set of fences has signalled
 * @pending: callbacks to come, plus one while it is being armed
 * @work: what to run
 * @wq: where
 * @count: length of @slots
 * @slots: one per fence, each with a reference
 */
struct dsync_gate {
	refcount_t pending;
	struct work_struct *work;
	struct workqueue_struct *wq;
	unsigned int count;
	struct dsync_gate_slot {
		struct dma_fence_cb cb;
		struct dma_fence *fence;
		struct dsync_gate *gate;
	} slots[];
};

struct dsync_gate *dsync_gate_alloc(unsigned int count);
void dsync_gate_arm(struct dsync_gate *gate, struct workqueue_struct *wq,
		    struct work_struct *work);
bool dsync_gate_cancel(struct dsync_gate *gate);
void dsync_gate_free(struct dsync_gate *gate);

/* cache.c */
bool dsync_cache_needs_begin(const struct dsync_access *access);
int dsync_cache_begin(struct dsync_access *access);
bool dsync_cache_unsettled(const struct dsync_access *wanted);
bool dsync_cache_settle(const struct dsync_access *access, const struct dsync_access *wanted);
void dsync_cache_pay(struct dsync_access *access);

/* exporter.c */
void dsync_exporters_forget(void);
const struct dmabuf_sync_exporter *dsync_exporter_find(const struct dma_buf *dmabuf);
loff_t dsync_dma_first(loff_t start);
loff_t dsync_dma_last(loff_t end);
void dsync_released(const struct dsync_access *access, loff_t first, loff_t last);

/* ranges.c */
bool dsync_has_ranges(const struct dsync_access *access);
bool dsync_ranges_need_begin(const struct dsync_access *access);
int dsync_ranges_begin(struct dsync_access *access);
bool dsync_ranges_ending(const struct dsync_access *access);
bool dsync_ranges_keep_back(const struct dsync_access *access);
bool dsync_ranges_unsettled(const struct dsync_access *wanted);
bool dsync_ranges_settle(const struct dsync_access *access, const struct dsync_access *wanted);

/* expire.c */
int dsync_expiry_prepare(struct dsync_queue *queue);
void dsync_expiry_arm(struct dsync_queue *queue);
bool dsync_expire(struct dsync_queue *queue, const struct dsync_access *wanted);

/* revoked.c */
void dsync_revoked_add(struct dsync_access *access);
bool dsync_revoked_take(struct file *file, bool ofd);
void dsync_revoked_close(struct file *file);
void dsync_revoked_exit(void);

/* posix.c */
bool dsync_posix_conflict(const struct dsync_access *access);
bool dsync_posix_owner_conflict(const void *owner, const struct dsync_access *access);
bool dsync_posix_holds(struct file *file, struct file_lock *fl);
bool dsync_posix_full(struct file *file, struct file_lock *fl);
unsigned int dsync_posix_held(struct file *file, const void *owner);
bool dsync_held_at(loff_t start, loff_t stop, loff_t pos, loff_t *end, loff_t *next);
bool dsync_posix_held_at(const struct dma_buf *dmabuf, bool writers_only, loff_t pos,
			 loff_t *end, loff_t *next);
bool dsync_posix_may_access(const struct dma_buf *dmabuf, loff_t first, loff_t last, bool write);
void dsync_posix_adopt(struct dsync_queue *queue, struct dma_buf *dmabuf);
int dsync_posix_remove(struct file *file, const void *owner);
bool dsync_posix_queue_conflict(const struct dsync_access *access, struct file_lock *fl);
void dsync_posix_show(struct seq_file *m, const struct dsync_access *held);

/* fcntl.c */
int dsync_fcntl(struct file *file, int cmd, struct file_lock *fl);
int dsync_fcntl_setlk(struct file *file, struct file_lock *fl, ktime_t until,
		      unsigned int hold_timeout_ms);

/* hook.c */
int dsync_hook_install(void);
void dsync_hook_remove(void);

/* device.c */
int dsync_device_init(void);
void dsync_device_start(void);
void dsync_device_exit(void);

/* debugfs.c */
void dsync_debugfs_init(void);
void dsync_debugfs_exit(void);

/*
 * Counters for debugfs; each event is counted where its tracepoint is. When nothing is
 * held, grants + adoptions == releases + merges.
 */
enum dsync_counter {
	DSYNC_COUNT_REQUEST,
	DSYNC_COUNT_GRANT,
	DSYNC_COUNT_ADOPTION,
	DSYNC_COUNT_MERGE,
	DSYNC_COUNT_WAKE,
	DSYNC_COUNT_RELEASE,
	DSYNC_COUNT_REVOKE,
	DSYNC_COUNT_DEADLOCK,
	DSYNC_COUNT_OVERTAKE,
	DSYNC_COUNT_JOB_START,
	DSYNC_COUNT_JOB_END,
	DSYNC_COUNTERS,
};

DECLARE_PER_CPU(unsigned long [DSYNC_COUNTERS], dsync_counters);
#define dsync_count(name) this_cpu_inc(dsync_counters[DSYNC_COUNT_##name])

/*
 * Work that a fence depends on has a queue of its own: in the first one, items
 * may wait for a dma_resv that is held by somebody who waits for our fence. So
 * have deadlines: that one runs only so many items at once, and a user's jobs
 * may be all of them and wait for a slow exporter.
 */
extern struct workqueue_struct *dsync_wq;
extern struct workqueue_struct *dsync_signal_wq;
extern struct workqueue_struct *dsync_expiry_wq;

#endif /* DSYNC_H */
