// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmabuf-sync: the posix lock records of a dma-buf's inode.
 */
#include <linux/fdtable.h>
#include <linux/pid_namespace.h>
#include <linux/seq_file.h>

#include "dsync.h"
#include "trace.h"

/**
 * DOC: posix records
 *
 * A lock that fcntl() grants is kept as a posix record in the inode: the VFS
 * looks there when a file is closed, /proc/locks shows it, and records made
 * before this module was loaded are there already. So it is also where we look
 * up which bytes an fcntl() owner holds. Records change only through the lock
 * callback, which changes them with the queue locked, if there is one.
 */

static struct file_lock_context *posix_context(const struct dma_buf *dmabuf)
{
	struct file_lock_context *ctx = locks_inode_context(file_inode(dmabuf->file));

	return ctx && !list_empty_careful(&ctx->flc_posix) ? ctx : NULL;
}

static bool record_conflicts(struct file_lock *record, const struct dsync_access *access)
{
	if (file_lock_type(record) != F_WRLCK && !(access->type & DMABUF_SYNC_WRITE))
		return false;
	if (access->type & DMABUF_SYNC_DMA)
		return dsync_dma_overlap(access, access->dmabuf, record->fl_start, record->fl_end);
	return record->fl_start <= access->end && access->start <= record->fl_end;
}

/**
 * dsync_posix_conflict - does a record of another owner conflict?
 * @access: wanted access; its queue is locked
 *
 * Returns: true if one does.
 */
bool dsync_posix_conflict(const struct dsync_access *access)
{
	struct file_lock_context *ctx;
	struct file_lock *record;
	bool conflict = false;

	if (!access->dmabuf)
		return false;
	ctx = posix_context(access->dmabuf);
	if (!ctx)
		return false;
	spin_lock(&ctx->flc_lock);
	for_each_posix_lock(record, ctx) {
		conflict = file_lock_owner(record) != access->owner &&
			   record_conflicts(record, access);
		if (conflict)
			break;
	}
	spin_unlock(&ctx->flc_lock);
	return conflict;
}

/**
 * dsync_posix_owner_conflict - does a record of this owner conflict?
 * @owner: who holds
 * @access: what somebody wants; its queue is locked
 *
 * Returns: true if one does and @access is not of the same owner.
 */
bool dsync_posix_owner_conflict(const void *owner, const struct dsync_access *access)
{
	struct file_lock_context *ctx = posix_context(access->dmabuf);
	struct file_lock *record;
	bool conflict = false;

	if (!ctx || owner == access->owner)
		return false;
	spin_lock(&ctx->flc_lock);
	for_each_posix_lock(record, ctx) {
		conflict = file_lock_owner(record) == owner && record_conflicts(record, access);
		if (conflict)
			break;
	}
	spin_unlock(&ctx->flc_lock);
	return conflict;
}

/**
 * dsync_posix_held - what an owner holds in all
 * @file: dma-buf
 * @owner: files_struct or file
 *
 * Returns: DMABUF_SYNC_READ and _WRITE of its records, 0 if it has none.
 */
unsigned int dsync_posix_held(struct file *file, const void *owner)
{
	struct file_lock_context *ctx = locks_inode_context(file_inode(file));
	struct file_lock *record;
	unsigned int held = 0;

	if (!ctx)
		return 0;
	spin_lock(&ctx->flc_lock);
	for_each_posix_lock(record, ctx)
		if (file_lock_owner(record) == owner)
			held |= file_lock_type(record) == F_WRLCK ?
				DMABUF_SYNC_WRITE : DMABUF_SYNC_READ;
	spin_unlock(&ctx->flc_lock);
	return held;
}

/**
 * dsync_posix_holds - has an owner locked any of these bytes?
 * @file: dma-buf
 * @fl: owner and bytes
 *
 * Returns: true if it has.
 */
bool dsync_posix_holds(struct file *file, struct file_lock *fl)
{
	struct file_lock_context *ctx = locks_inode_context(file_inode(file));
	struct file_lock *record;
	bool found = false;

	if (!ctx)
		return false;
	spin_lock(&ctx->flc_lock);
	for_each_posix_lock(record, ctx) {
		found = file_lock_owner(record) == file_lock_owner(fl) &&
			record->fl_start <= fl->fl_end && fl->fl_start <= record->fl_end;
		if (found)
			break;
	}
	spin_unlock(&ctx->flc_lock);
	return found;
}

/**
 * dsync_posix_full - has an owner all the records that it may have?
 * @file: dma-buf
 * @fl: what it wants; F_UNLCK may cut a record in two
 *
 * Others wait while the records of a buffer are gone through, one by one.
 *
 * Returns: true if there are DSYNC_MAX_RECORDS of it, and would be more after that.
 */
bool dsync_posix_full(struct file *file, struct file_lock *fl)
{
	struct file_lock_context *ctx = locks_inode_context(file_inode(file));
	bool unlock = file_lock_type(fl) == F_UNLCK, cut = false;
	struct file_lock *record;
	unsigned int count = 0;

	if (!ctx)
		return false;
	spin_lock(&ctx->flc_lock);
	for_each_posix_lock(record, ctx) {
		if (file_lock_owner(record) != file_lock_owner(fl))
			continue;
		count++;
		/* It makes room for what replaces it. */
		if (fl->fl_start <= record->fl_start && record->fl_end <= fl->fl_end) {
			count = 0;
			break;
		}
		if (record->fl_start <= fl->fl_start && fl->fl_end <= record->fl_end) {
			/* Locked already. */
			if (file_lock_type(record) == file_lock_type(fl)) {
				count = 0;
				break;
			}
			cut = record->fl_start < fl->fl_start && fl->fl_end < record->fl_end;
		}
	}
	spin_unlock(&ctx->flc_lock);
	return count >= DSYNC_MAX_RECORDS && (cut || !unlock);
}

/**
 * dsync_held_at - a step on the search for bytes that nobody holds
 * @start: first byte that somebody holds
 * @stop: last one
 * @pos: byte in question
 * @end: grows to @stop if that covers @pos, or the byte behind what it covers already
 * @next: shrinks to @start if that comes after these
 *
 * Returns: true if it is held.
 */
bool dsync_held_at(loff_t start, loff_t stop, loff_t pos, loff_t *end, loff_t *next)
{
	start = dsync_dma_first(start);
	stop = dsync_dma_last(stop);
	if (*end == OFFSET_MAX)
		return true;
	/* Records are in order: one that follows the last is found in passing. */
	if (*end >= pos)
		pos = *end + 1;
	if (start > pos) {
		*next = min(*next, start);
		return false;
	}
	if (stop < pos)
		return false;
	*end = max(*end, stop);
	return true;
}

/**
 * dsync_posix_held_at - does any record cover a byte?
 * @dmabuf: buffer
 * @writers_only: count write locks only
 * @pos: byte
 * @end: see dsync_held_at()
 * @next: see dsync_held_at()
 *
 * Returns: true if one does.
 */
bool dsync_posix_held_at(const struct dma_buf *dmabuf, bool writers_only, loff_t pos,
			 loff_t *end, loff_t *next)
{
	struct file_lock_context *ctx = posix_context(dmabuf);
	struct file_lock *record;
	bool found = false;

	if (!ctx)
		return false;
	spin_lock(&ctx->flc_lock);
	for_each_posix_lock(record, ctx)
		if (!writers_only || file_lock_type(record) == F_WRLCK)
			found |= dsync_held_at(record->fl_start, record->fl_end, pos, end, next);
	spin_unlock(&ctx->flc_lock);
	return found;
}

/**
 * dsync_posix_may_access - does the calling process hold any of these bytes?
 * @dmabuf: buffer
 * @first: first byte
 * @last: last byte
 * @write: for writing
 *
 * Returns: true if it does, or somebody through the open file description.
 */
bool dsync_posix_may_access(const struct dma_buf *dmabuf, loff_t first, loff_t last, bool write)
{
	struct file_lock_context *ctx = posix_context(dmabuf);
	struct file_lock *record;
	bool found = false;

	if (!ctx)
		return false;
	spin_lock(&ctx->flc_lock);
	for_each_posix_lock(record, ctx) {
		if (file_lock_owner(record) != (fl_owner_t)current->files &&
		    !(file_lock_flags(record) & FL_OFDLCK))
			continue;
		if (write && file_lock_type(record) != F_WRLCK)
			continue;
		found |= record->fl_start <= last && first <= record->fl_end;
	}
	spin_unlock(&ctx->flc_lock);
	return found;
}

/* A record whose owner has no granted access in the queue: made before the module came. */
static struct file_lock *find_stranger(struct dsync_queue *queue, const struct dma_buf *dmabuf,
				       struct file_lock_context *ctx)
{
	const struct dsync_access *held;
	const void *known = NULL;
	struct file_lock *record;

	for_each_posix_lock(record, ctx) {
		/* There may be many, but those of one owner follow each other. */
		if (file_lock_owner(record) == known)
			continue;
		known = NULL;
		list_for_each_entry(held, &queue->granted, node) {
			if (held->dmabuf == dmabuf && held->owner == file_lock_owner(record)) {
				known = held->owner;
				break;
			}
		}
		if (!known)
			return record;
	}
	return NULL;
}

/**
 * dsync_posix_adopt - give records from before our time a deadline
 * @queue: locked queue that somebody is about to wait in
 * @dmabuf: its dma-buf
 *
 * Their owners get a granted access each, so that they can be found, shown and
 * revoked like all others. Without memory they stay as they are: they count,
 * but have no deadline.
 */
void dsync_posix_adopt(struct dsync_queue *queue, struct dma_buf *dmabuf)
{
	struct file_lock_context *ctx = posix_context(dmabuf);
	struct dsync_access *access;
	struct file_lock *record;
	bool stranger;

	while (ctx) {
		spin_lock(&ctx->flc_lock);
		stranger = find_stranger(queue, dmabuf, ctx);
		spin_unlock(&ctx->flc_lock);
		if (!stranger)
			return;

		access = dsync_access_alloc();
		if (!access)
			return;
		spin_lock(&ctx->flc_lock);
		record = find_stranger(queue, dmabuf, ctx);
		if (!record) {
			spin_unlock(&ctx->flc_lock);
			dsync_access_free(access);
			return;
		}
		access->owner = file_lock_owner(record);
		access->flags = file_lock_flags(record) & FL_OFDLCK ? DSYNC_OFD : DSYNC_POSIX;
		rcu_read_lock();
		access->pid = get_pid(find_pid_ns(file_lock_pid(record), &init_pid_ns));
		rcu_read_unlock();
		spin_unlock(&ctx->flc_lock);

		access->type = dsync_posix_held(dmabuf->file, access->owner);
		access->dmabuf = dmabuf;
		access->exporter = dsync_exporter_find(dmabuf);
		access->resv = dmabuf->resv;
		access->end = OFFSET_MAX;
		access->granted_at = ktime_get();
		dsync_count(ADOPTION);
		access->deadline = ktime_add(access->granted_at, dsync_hold_time(0));
		access->queue = queue;
		dsync_queue_ref(queue);
		__module_get(THIS_MODULE);
		list_add_tail(&access->node, &queue->granted);
		trace_dmabuf_sync_hold(access);
	}
}

/**
 * dsync_posix_remove - remove all records of an owner
 * @file: dma-buf, referenced
 * @owner: files_struct or file, perhaps gone: it is only compared
 *
 * Returns: 0; removing whole records needs no memory.
 */
int dsync_posix_remove(struct file *file, const void *owner)
{
	struct file_lock fl;

	locks_init_lock(&fl);
	file_lock_type(&fl) = F_UNLCK;
	file_lock_flags(&fl) = FL_POSIX;
	file_lock_owner(&fl) = (fl_owner_t)owner;
	file_lock_file(&fl) = file;
	fl.fl_end = OFFSET_MAX;
	return posix_lock_file(file, &fl, NULL);
}

/* Nobody's: a driver's own doing, or shared by all who have the file. */
static pid_t pid_of(const struct dsync_access *held)
{
	if (held->flags & DSYNC_OFD)
		return -1;
	return (held->flags & DSYNC_KERNEL) && !(held->flags & DSYNC_JOB) ? -1 : pid_nr(held->pid);
}

/* An fcntl() hold that is complete, whose ranges are in the inode of its own dma-buf. */
static bool in_records(const struct dsync_access *held)
{
	return (held->flags & DSYNC_FCNTL) && !(held->flags & DSYNC_PENDING);
}

/**
 * dsync_posix_queue_conflict - F_GETLK for what is not in the inode
 * @access: what the caller would ask for; its queue is locked
 * @fl: (out) the first conflict: l_pid is the process that locked a sync object or
 *	submitted a job, -1 for a driver
 *
 * Returns: true if there is one.
 */
bool dsync_posix_queue_conflict(const struct dsync_access *access, struct file_lock *fl)
{
	struct dsync_access *held;

	list_for_each_entry(held, &access->queue->granted, node) {
		if (in_records(held) && held->dmabuf == access->dmabuf)
			continue;
		if (!dsync_holds_back(held, access))
			continue;
		file_lock_flags(fl) = FL_POSIX;
		file_lock_type(fl) = held->type & DMABUF_SYNC_WRITE ? F_WRLCK : F_RDLCK;
		file_lock_pid(fl) = pid_of(held);
		/* Through another dma-buf of the same memory it is all or nothing. */
		fl->fl_start = in_records(held) ? 0 : held->start;
		fl->fl_end = in_records(held) ? OFFSET_MAX : held->end;
		return true;
	}
	return false;
}

/**
 * dsync_posix_show - " ranges=W:0-99,R:200-299" for debugfs
 * @m: where to
 * @held: access of a locked queue; nothing is shown unless fcntl() holds it
 */
void dsync_posix_show(struct seq_file *m, const struct dsync_access *held)
{
	struct file_lock_context *ctx;
	struct file_lock *record;
	const char *before = " ranges=";

	/* What waits has a request, and perhaps others of its owner's records. */
	if (!(held->flags & DSYNC_FCNTL) || held->request)
		return;
	ctx = posix_context(held->dmabuf);
	if (!ctx)
		return;
	spin_lock(&ctx->flc_lock);
	for_each_posix_lock(record, ctx) {
		if (file_lock_owner(record) != held->owner)
			continue;
		seq_printf(m, "%s%c:%lld-%lld", before,
			   file_lock_type(record) == F_WRLCK ? 'W' : 'R',
			   record->fl_start, record->fl_end);
		before = ",";
	}
	spin_unlock(&ctx->flc_lock);
}
