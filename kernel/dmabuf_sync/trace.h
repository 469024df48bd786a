/* SPDX-License-Identifier: GPL-2.0-only */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM dmabuf_sync

#if !defined(DSYNC_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define DSYNC_TRACE_H

#include <linux/tracepoint.h>

#include "dsync.h"

/*
 * Who asked for what. pid is the process that asked, not the one that runs
 * now; since_ns is how long ago it asked (grant, deadlock) or was granted
 * (release, revoke).
 */
DECLARE_EVENT_CLASS(dmabuf_sync_access,
	TP_PROTO(const struct dsync_access *access),
	TP_ARGS(access),
	TP_STRUCT__entry(
		__field(const void *, resv)
		__field(const void *, owner)
		__field(u64, ino)
		__field(u64, start)
		__field(u64, end)
		__field(s64, since_ns)
		__field(int, holder)
		__field(unsigned int, flags)
		__field(unsigned int, type)),
	TP_fast_assign(
		__entry->resv = access->resv;
		__entry->owner = access->owner;
		__entry->ino = access->dmabuf ? file_inode(access->dmabuf->file)->i_ino : 0;
		__entry->start = access->start;
		__entry->end = access->end;
		__entry->since_ns = ktime_to_ns(ktime_sub(ktime_get(), access->granted_at));
		__entry->holder = pid_nr(access->pid);
		__entry->flags = access->flags;
		__entry->type = access->type;),
	TP_printk("ino=%llu resv=%p owner=%p kind=%s type=%s start=%llu end=%llu pid=%d since_ns=%lld",
		  __entry->ino, __entry->resv, __entry->owner,
		  __entry->flags & DSYNC_POSIX ? "posix" :
		  __entry->flags & DSYNC_OFD ? "ofd" :
		  __entry->flags & DSYNC_JOB ? "job" :
		  __entry->flags & DSYNC_KERNEL ? "kernel" : "sync",
		  __print_flags(__entry->type, "|", { DMABUF_SYNC_READ, "R" },
				{ DMABUF_SYNC_WRITE, "W" }, { DMABUF_SYNC_DMA, "DMA" }),
		  __entry->start, __entry->end, __entry->holder, __entry->since_ns)
);

DEFINE_EVENT(dmabuf_sync_access, dmabuf_sync_request,
	     TP_PROTO(const struct dsync_access *access), TP_ARGS(access));
DEFINE_EVENT(dmabuf_sync_access, dmabuf_sync_grant,
	     TP_PROTO(const struct dsync_access *access), TP_ARGS(access));
DEFINE_EVENT(dmabuf_sync_access, dmabuf_sync_release,
	     TP_PROTO(const struct dsync_access *access), TP_ARGS(access));
DEFINE_EVENT(dmabuf_sync_access, dmabuf_sync_revoke,
	     TP_PROTO(const struct dsync_access *access), TP_ARGS(access));
DEFINE_EVENT(dmabuf_sync_access, dmabuf_sync_deadlock,
	     TP_PROTO(const struct dsync_access *access), TP_ARGS(access));

/* Moved in front of the other by the search for cycles, or by holding what it waits for. */
TRACE_EVENT(dmabuf_sync_overtake,
	TP_PROTO(const struct dsync_access *access, const struct dsync_access *overtaken),
	TP_ARGS(access, overtaken),
	TP_STRUCT__entry(
		__field(const void *, resv)
		__field(const void *, owner)
		__field(int, holder)
		__field(int, overtaken)),
	TP_fast_assign(
		__entry->resv = access->resv;
		__entry->owner = access->owner;
		__entry->holder = pid_nr(access->pid);
		__entry->overtaken = pid_nr(overtaken->pid);),
	TP_printk("resv=%p owner=%p pid=%d overtaken=%d", __entry->resv, __entry->owner,
		  __entry->holder, __entry->overtaken)
);

DECLARE_EVENT_CLASS(dmabuf_sync_job,
	TP_PROTO(const char *name, const struct dma_fence *fence, int status),
	TP_ARGS(name, fence, status),
	TP_STRUCT__entry(
		__array(char, name, DMABUF_SYNC_NAME_LEN)
		__field(u64, context)
		__field(u64, seqno)
		__field(int, status)),
	TP_fast_assign(
		strscpy(__entry->name, name, sizeof(__entry->name));
		__entry->context = fence->context;
		__entry->seqno = fence->seqno;
		__entry->status = status;),
	TP_printk("name=%s context=%llu seqno=%llu status=%d", __entry->name,
		  __entry->context, __entry->seqno, __entry->status)
);

DEFINE_EVENT(dmabuf_sync_job, dmabuf_sync_job_publish,
	     TP_PROTO(const char *name, const struct dma_fence *fence, int status),
	     TP_ARGS(name, fence, status));
DEFINE_EVENT(dmabuf_sync_job, dmabuf_sync_job_start,
	     TP_PROTO(const char *name, const struct dma_fence *fence, int status),
	     TP_ARGS(name, fence, status));
DEFINE_EVENT(dmabuf_sync_job, dmabuf_sync_job_end,
	     TP_PROTO(const char *name, const struct dma_fence *fence, int status),
	     TP_ARGS(name, fence, status));

#endif /* DSYNC_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
