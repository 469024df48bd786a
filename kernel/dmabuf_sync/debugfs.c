// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmabuf-sync: /sys/kernel/debug/dmabuf_sync.
 */
#include <linux/debugfs.h>
#include <linux/sched.h>
#include <linux/seq_file.h>

#include "sync.h"

/**
 * DOC: debugfs
 *
 * buffers
 *	a line for every access that is held or waited for, key=value; ages and
 *	deadlines in ms, a negative deadline is overdue. owner and access are as
 *	in the tracepoints; blocker is the access that a waiting one waits for
 *	first; ranges are what an fcntl() owner holds, where start and end are
 *	only what it asked for last. New keys may come at any place.
 * stats
 *	counters since the module was loaded; adoptions are locks from before it, merges
 *	are grants to an owner who had a hold on the buffer already
 */

static struct dentry *root;

static const char * const counter_names[DSYNC_COUNTERS] = {
	[DSYNC_COUNT_REQUEST] = "requests",
	[DSYNC_COUNT_GRANT] = "grants",
	[DSYNC_COUNT_ADOPTION] = "adoptions",
	[DSYNC_COUNT_MERGE] = "merges",
	[DSYNC_COUNT_WAKE] = "wakes",
	[DSYNC_COUNT_RELEASE] = "releases",
	[DSYNC_COUNT_REVOKE] = "revokes",
	[DSYNC_COUNT_DEADLOCK] = "deadlocks",
	[DSYNC_COUNT_OVERTAKE] = "overtakes",
	[DSYNC_COUNT_JOB_START] = "job_starts",
	[DSYNC_COUNT_JOB_END] = "job_ends",
};

static const char *kind_name(const struct dsync_access *access)
{
	if (access->flags & DSYNC_POSIX)
		return "posix";
	if (access->flags & DSYNC_OFD)
		return "ofd";
	if (access->flags & DSYNC_JOB)
		return "job";
	return access->flags & DSYNC_KERNEL ? "kernel" : "sync";
}

static void show_comm(struct seq_file *m, struct pid *pid)
{
	struct task_struct *task = get_pid_task(pid, PIDTYPE_TGID);
	char comm[TASK_COMM_LEN] = "";

	if (task) {
		get_task_comm(comm, task);
		put_task_struct(task);
	}
	seq_puts(m, " comm=");
	seq_escape(m, comm, " \t\n\\");
}

/* User space chose it: it must not look like more than a name. */
static void show_name(struct seq_file *m, const struct dsync_access *access)
{
	seq_puts(m, " name=");
	if (access->request)
		seq_escape(m, container_of(access->request, struct dmabuf_sync, request)->name,
			   " \t\n\\");
}

static void show_buffer(struct seq_file *m, struct dma_buf *dmabuf)
{
	seq_printf(m, " size=%zu exp=", dmabuf->size);
	seq_escape(m, dmabuf->exp_name, " \t\n\\");
	seq_puts(m, " buffer=");
	spin_lock(&dmabuf->name_lock);
	if (dmabuf->name)
		seq_escape(m, dmabuf->name, " \t\n\\");
	spin_unlock(&dmabuf->name_lock);
}

static void show_access(struct seq_file *m, const struct dsync_access *access, const char *state,
			const struct dsync_access *blocker)
{
	ktime_t now = ktime_get();

	seq_printf(m, "ino=%lu resv=%p state=%s kind=%s type=%s%s%s",
		   access->dmabuf ? (unsigned long)file_inode(access->dmabuf->file)->i_ino : 0,
		   access->resv, state, kind_name(access),
		   access->type & DMABUF_SYNC_READ ? "R" : "",
		   access->type & DMABUF_SYNC_WRITE ? "W" : "",
		   access->type & DMABUF_SYNC_DMA ? "+DMA" : "");
	if (!(access->flags & (DSYNC_POSIX | DSYNC_OFD)))
		show_name(m, access);
	seq_printf(m, " start=%lld end=%lld pid=%d", access->start, access->end,
		   pid_nr(access->pid));
	show_comm(m, access->pid);
	seq_printf(m, " age_ms=%lld", ktime_ms_delta(now, access->granted_at));
	if (access->deadline && access->deadline != KTIME_MAX)
		seq_printf(m, " deadline_ms=%lld", ktime_ms_delta(access->deadline, now));
	seq_printf(m, " owner=%p access=%p", access->owner, access);
	if (blocker)
		seq_printf(m, " blocker=%p", blocker);
	if (access->dmabuf)
		show_buffer(m, access->dmabuf);
	dsync_posix_show(m, access);
	seq_putc(m, '\n');
}

static void show_queue(struct dsync_queue *queue, void *data)
{
	struct dsync_access *access;
	struct seq_file *m = data;

	list_for_each_entry(access, &queue->granted, node)
		show_access(m, access, access->flags & DSYNC_PENDING ? "granting" :
			    access->flags & (DSYNC_LEAVING | DSYNC_ENDING) ? "leaving" : "held",
			    NULL);
	list_for_each_entry(access, &queue->waiting, node)
		show_access(m, access, "waiting", dsync_blocker(access));
}

static int buffers_show(struct seq_file *m, void *unused)
{
	dsync_queue_for_each(show_queue, m);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(buffers);

static int stats_show(struct seq_file *m, void *unused)
{
	unsigned int i;
	int cpu;

	for (i = 0; i < DSYNC_COUNTERS; i++) {
		unsigned long sum = 0;

		for_each_possible_cpu(cpu)
			sum += per_cpu(dsync_counters, cpu)[i];
		seq_printf(m, "%s %lu\n", counter_names[i], sum);
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(stats);

void dsync_debugfs_init(void)
{
	root = debugfs_create_dir("dmabuf_sync", NULL);
	debugfs_create_file("buffers", 0400, root, NULL, &buffers_fops);
	debugfs_create_file("stats", 0400, root, NULL, &stats_fops);
}

void dsync_debugfs_exit(void)
{
	debugfs_remove_recursive(root);
}
