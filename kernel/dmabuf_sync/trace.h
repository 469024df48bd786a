/* SPDX-License-Identifier: GPL-2.0-only */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM dmabuf_sync

#if !defined(DSYNC_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define DSYNC_TRACE_H

#include <linux/tracepoint.h>

#include "sync.h"

/*
 * Who asked for what. access is the same in all events of one access, owner in
 * all of one sync object, job or fcntl owner. pid is the process that asked, not
 * the one that runs now; since_ns is how long ago it asked (grant, cancel,
 * deadlock) or was granted (leave, release, revoke); left_ns is how long the
 * hold is still safe (hold, revoke). python/dmabuf_sync/trace reads all of it.
 *
 *	request			before any lock is taken
 *	  cancel		not granted: would block, a signal, a timeout, an error
 *	  wait			in the queues
 *	    cancel
 *	    grant		on the granted list; pending=1 until hold
 *	      hold		complete; to what an fcntl owner has, this is added
 *	        unlock		an fcntl owner has given a part back
 *	        revoke
 *	        leave		given back: the CPU may pass
 *	          release	off the list
 *
 * All but request and some cancels are emitted with the queue locked, so their
 * order (trace clock "counter") is the order in which they happened.
 */
DECLARE_EVENT_CLASS(dmabuf_sync_access,
	TP_PROTO(const struct dsync_access *access),
	TP_ARGS(access),
	TP_STRUCT__entry(
		__field(const void *, resv)
		__field(const void *, owner)
		__field(const void *, access)
		__field(u64, ino)
		__field(u64, start)
		__field(u64, end)
		__field(s64, since_ns)
		__field(s64, left_ns)
		__field(int, holder)
		__field(unsigned int, flags)
		__field(unsigned int, type)),
	TP_fast_assign(
		ktime_t now = ktime_get();

		__entry->resv = access->resv;
		__entry->owner = access->owner;
		__entry->access = access;
		__entry->ino = access->dmabuf ? file_inode(access->dmabuf->file)->i_ino : 0;
		__entry->start = access->start;
		__entry->end = access->end;
		__entry->since_ns = ktime_to_ns(ktime_sub(now, access->granted_at));
		__entry->left_ns = ktime_to_ns(ktime_sub(access->deadline, now));
		__entry->holder = pid_nr(access->pid);
		__entry->flags = access->flags;
		__entry->type = access->type;),
	TP_printk("ino=%llu resv=%p owner=%p access=%p kind=%s type=%s start=%llu end=%llu pid=%d pending=%d since_ns=%lld left_ns=%lld",
		  __entry->ino, __entry->resv, __entry->owner, __entry->access,
		  __entry->flags & DSYNC_POSIX ? "posix" :
		  __entry->flags & DSYNC_OFD ? "ofd" :
		  __entry->flags & DSYNC_JOB ? "job" :
		  __entry->flags & DSYNC_KERNEL ? "kernel" : "sync",
		  __print_flags(__entry->type, "|", { DMABUF_SYNC_READ, "R" },
				{ DMABUF_SYNC_WRITE, "W" }, { DMABUF_SYNC_DMA, "DMA" }),
		  __entry->start, __entry->end, __entry->holder,
		  !!(__entry->flags & DSYNC_PENDING), __entry->since_ns, __entry->left_ns)
);

DEFINE_EVENT(dmabuf_sync_access, dmabuf_sync_request,
	     TP_PROTO(const struct dsync_access *access), TP_ARGS(access));
DEFINE_EVENT(dmabuf_sync_access, dmabuf_sync_grant,
	     TP_PROTO(const struct dsync_access *access), TP_ARGS(access));
DEFINE_EVENT(dmabuf_sync_access, dmabuf_sync_cancel,
	     TP_PROTO(const struct dsync_access *access), TP_ARGS(access));
DEFINE_EVENT(dmabuf_sync_access, dmabuf_sync_hold,
	     TP_PROTO(const struct dsync_access *access), TP_ARGS(access));
DEFINE_EVENT(dmabuf_sync_access, dmabuf_sync_unlock,
	     TP_PROTO(const struct dsync_access *access), TP_ARGS(access));
DEFINE_EVENT(dmabuf_sync_access, dmabuf_sync_leave,
	     TP_PROTO(const struct dsync_access *access), TP_ARGS(access));
DEFINE_EVENT(dmabuf_sync_access, dmabuf_sync_release,
	     TP_PROTO(const struct dsync_access *access), TP_ARGS(access));
DEFINE_EVENT(dmabuf_sync_access, dmabuf_sync_revoke,
	     TP_PROTO(const struct dsync_access *access), TP_ARGS(access));
DEFINE_EVENT(dmabuf_sync_access, dmabuf_sync_deadlock,
	     TP_PROTO(const struct dsync_access *access), TP_ARGS(access));

/* It begins to wait: in front of the other, whom it keeps back, or (NULL) at the end. */
TRACE_EVENT(dmabuf_sync_wait,
	TP_PROTO(const struct dsync_access *access, const struct dsync_access *before),
	TP_ARGS(access, before),
	TP_STRUCT__entry(
		__field(const void *, resv)
		__field(const void *, owner)
		__field(const void *, access)
		__field(const void *, before)
		__field(int, holder)),
	TP_fast_assign(
		__entry->resv = access->resv;
		__entry->owner = access->owner;
		__entry->access = access;
		__entry->before = before;
		__entry->holder = pid_nr(access->pid);),
	TP_printk("resv=%p owner=%p access=%p before=%p pid=%d", __entry->resv, __entry->owner,
		  __entry->access, __entry->before, __entry->holder)
);

/* Moved in front of the other by the search for cycles. */
TRACE_EVENT(dmabuf_sync_overtake,
	TP_PROTO(const struct dsync_access *access, const struct dsync_access *overtaken),
	TP_ARGS(access, overtaken),
	TP_STRUCT__entry(
		__field(const void *, resv)
		__field(const void *, owner)
		__field(const void *, access)
		__field(const void *, before)
		__field(int, holder)
		__field(int, overtaken)),
	TP_fast_assign(
		__entry->resv = access->resv;
		__entry->owner = access->owner;
		__entry->access = access;
		__entry->before = overtaken;
		__entry->holder = pid_nr(access->pid);
		__entry->overtaken = pid_nr(overtaken->pid);),
	TP_printk("resv=%p owner=%p access=%p before=%p pid=%d overtaken=%d", __entry->resv,
		  __entry->owner, __entry->access, __entry->before, __entry->holder,
		  __entry->overtaken)
);

DECLARE_EVENT_CLASS(dmabuf_sync_job,
	TP_PROTO(const struct dmabuf_sync *sync, int status),
	TP_ARGS(sync, status),
	TP_STRUCT__entry(
		__array(char, name, DMABUF_SYNC_NAME_LEN)
		__field(const void *, owner)
		__field(u64, context)
		__field(u64, seqno)
		__field(int, status)),
	TP_fast_assign(
		strscpy(__entry->name, sync->name, sizeof(__entry->name));
		__entry->owner = sync;
		__entry->context = sync->job.fence->context;
		__entry->seqno = sync->job.fence->seqno;
		__entry->status = status;),
	TP_printk("owner=%p context=%llu seqno=%llu status=%d name=%s", __entry->owner,
		  __entry->context, __entry->seqno, __entry->status, __entry->name)
);

DEFINE_EVENT(dmabuf_sync_job, dmabuf_sync_job_publish,
	     TP_PROTO(const struct dmabuf_sync *sync, int status), TP_ARGS(sync, status));
DEFINE_EVENT(dmabuf_sync_job, dmabuf_sync_job_start,
	     TP_PROTO(const struct dmabuf_sync *sync, int status), TP_ARGS(sync, status));
DEFINE_EVENT(dmabuf_sync_job, dmabuf_sync_job_end,
	     TP_PROTO(const struct dmabuf_sync *sync, int status), TP_ARGS(sync, status));

#endif /* DSYNC_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
