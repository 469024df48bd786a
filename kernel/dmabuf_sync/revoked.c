// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmabuf-sync: what fcntl() owners have lost and do not know yet.
 */
#include <linux/fs.h>
#include <linux/slab.h>

#include "dsync.h"

/**
 * DOC: memory of revoked holds
 *
 * An fcntl() owner whose hold was revoked gets ETIMEDOUT from its next call on
 * that buffer, once. Until then we remember it by what is never reused while
 * we do: the inode number of the dma-buf, and the referenced struct pid of the
 * process (none for an open file description: all sharers of a dma-buf have
 * one). The access that was revoked becomes the note, so nothing needs to be
 * allocated. A note is gone with its process: closing the file drops it, and
 * exit closes. At most DSYNC_MAX_REVOKED are kept; the oldest goes first.
 * One for an open file description goes with its last descriptor; if a mapping
 * outlives that, the note stays until it is the oldest. It can do no harm: no
 * other dma-buf ever has that inode number.
 */

#define DSYNC_MAX_REVOKED 1024

static DEFINE_SPINLOCK(revoked_lock);
static LIST_HEAD(revoked_list);
static unsigned int revoked_count;

/* A note is an access whose @start is the inode number. */
static bool is_note_for(const struct dsync_access *note, u64 ino, const struct pid *pid)
{
	return note->start == ino && note->pid == pid;
}

static void drop_note(struct dsync_access *note, struct list_head *dropped)
{
	list_move(&note->node, dropped);
	revoked_count--;
}

static void free_notes(struct list_head *dropped)
{
	struct dsync_access *note, *next;

	list_for_each_entry_safe(note, next, dropped, node)
		dsync_access_free(note);
}

/**
 * dsync_revoked_add - remember that an owner has lost its hold
 * @access: revoked fcntl access, just off its queue, which is still locked; ours
 *	from now on
 */
void dsync_revoked_add(struct dsync_access *access)
{
	u64 ino = file_inode(access->dmabuf->file)->i_ino;
	struct dsync_access *note, *next;
	LIST_HEAD(dropped);

	access->queue = NULL;
	/*
	 * The owner may have been told while the caches were cleaned, or be unknown: its
	 * record was there before we were, and who made it has exited since.
	 */
	if ((access->flags & DSYNC_TOLD) || ((access->flags & DSYNC_POSIX) && !access->pid)) {
		dsync_access_free(access);
		return;
	}
	access->start = ino;
	if (access->flags & DSYNC_OFD) {
		put_pid(access->pid);
		access->pid = NULL;
	}

	spin_lock(&revoked_lock);
	rcu_read_lock();
	list_for_each_entry_safe(note, next, &revoked_list, node)
		if (is_note_for(note, ino, access->pid) ||
		    (note->pid && !pid_task(note->pid, PIDTYPE_TGID)))
			drop_note(note, &dropped);
	rcu_read_unlock();
	if (revoked_count == DSYNC_MAX_REVOKED)
		drop_note(list_first_entry(&revoked_list, struct dsync_access, node), &dropped);
	list_add_tail(&access->node, &revoked_list);
	WRITE_ONCE(revoked_count, revoked_count + 1);
	spin_unlock(&revoked_lock);

	free_notes(&dropped);
}

static bool take(u64 ino, const struct pid *pid)
{
	struct dsync_access *note, *next;
	LIST_HEAD(dropped);

	if (!READ_ONCE(revoked_count))
		return false;
	spin_lock(&revoked_lock);
	list_for_each_entry_safe(note, next, &revoked_list, node)
		if (is_note_for(note, ino, pid))
			drop_note(note, &dropped);
	spin_unlock(&revoked_lock);
	if (list_empty(&dropped))
		return false;
	free_notes(&dropped);
	return true;
}

/**
 * dsync_revoked_take - has the caller lost a hold on this buffer?
 * @file: dma-buf
 * @ofd: ask for the open file description, not for the calling process
 *
 * Returns: true, once, if it has.
 */
bool dsync_revoked_take(struct file *file, bool ofd)
{
	return take(file_inode(file)->i_ino, ofd ? NULL : task_tgid(current));
}

/**
 * dsync_revoked_close - forget what the caller will never ask for
 * @file: dma-buf of which the caller closes a descriptor
 */
void dsync_revoked_close(struct file *file)
{
	take(file_inode(file)->i_ino, task_tgid(current));
	if (file_count(file) <= 1)
		take(file_inode(file)->i_ino, NULL);
}

void dsync_revoked_exit(void)
{
	LIST_HEAD(dropped);

	spin_lock(&revoked_lock);
	list_splice_init(&revoked_list, &dropped);
	revoked_count = 0;
	spin_unlock(&revoked_lock);
	free_notes(&dropped);
}
