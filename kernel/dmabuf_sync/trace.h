/* SPDX-License-Identifier: GPL-2.0-only */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM dmabuf_sync

#if !defined(DSYNC_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define DSYNC_TRACE_H

#include <linux/tracepoint.h>

#include "dsync.h"

#define DSYNC_TRACE_TYPES { DMABUF_SYNC_READ, "R" }, { DMABUF_SYNC_WRITE, "W" }, \
			  { DMABUF_SYNC_DMA, "DMA" }
#define DSYNC_TRACE_OWNERS { DSYNC_POSIX, "posix" }, { DSYNC_OFD, "ofd" }, \
			   { DSYNC_JOB, "job" }, { DSYNC_KERNEL, "kernel" }

/* Who asked for what: pid is the process that asked, not the one that runs now. */
#define DSYNC_TRACE_ACCESS_FIELDS			\
	__field(const void *, resv)			\
	__field(const void *, owner)			\
	__field(u64, ino)				\
	__field(u64, start)				\
	__field(u64, end)				\
	__field(int, holder)				\
	__field(unsigned int, flags)			\
	__field(unsigned int, type)

#define DSYNC_TRACE_ACCESS_ASSIGN(access)					\
	__entry->resv = (access)->resv;					\
	__entry->owner = (access)->owner;					\
	__entry->ino = (access)->dmabuf ? dsync_trace_ino((access)->dmabuf) : 0;	\
	__entry->start = (access)->start;					\
	__entry->end = (access)->end;						\
	__entry->holder = pid_nr((access)->pid);				\
	__entry->flags = (access)->flags;					\
	__entry->type = (access)->type

#define DSYNC_TRACE_ACCESS_FMT \
	"ino=%llu resv=%p owner=%p kind=%s type=%s start=%llu end=%llu pid=%d"
#define DSYNC_TRACE_ACCESS_ARGS							\
	__entry->ino, __entry->resv, __entry->owner,				\
	__print_flags(__entry->flags & (DSYNC_FCNTL | DSYNC_JOB | DSYNC_KERNEL),	\
		      "|", DSYNC_TRACE_OWNERS),					\
	__print_flags(__entry->type, "|", DSYNC_TRACE_TYPES),			\
	__entry->start, __entry->end, __entry->holder

#ifndef DSYNC_TRACE_INO
#define DSYNC_TRACE_INO
static inline u64 dsync_trace_ino(const struct dma_buf *dmabuf)
{
	return file_inode(dmabuf->file)->i_ino;
}
#endif

DECLARE_EVENT_CLASS(dmabuf_sync_access,
	TP_PROTO(const struct dsync_access *access),
	TP_ARGS(access),
	TP_STRUCT__entry(DSYNC_TRACE_ACCESS_FIELDS),
	TP_fast_assign(DSYNC_TRACE_ACCESS_ASSIGN(access);),
	TP_printk(DSYNC_TRACE_ACCESS_FMT, DSYNC_TRACE_ACCESS_ARGS)
);

DEFINE_EVENT(dmabuf_sync_access, dmabuf_sync_request,
	TP_PROTO(const struct dsync_access *access), TP_ARGS(access));
DEFINE_EVENT(dmabuf_sync_access, dmabuf_sync_release,
	TP_PROTO(const struct dsync_access *access), TP_ARGS(access));
DEFINE_EVENT(dmabuf_sync_access, dmabuf_sync_revoke,
	TP_PROTO(const struct dsync_access *access), TP_ARGS(access));
DEFINE_EVENT(dmabuf_sync_access, dmabuf_sync_deadlock,
	TP_PROTO(const struct dsync_access *access), TP_ARGS(access));

TRACE_EVENT(dmabuf_sync_grant,
	TP_PROTO(const struct dsync_access *access, s64 waited_ns),
	TP_ARGS(access, waited_ns),
	TP_STRUCT__entry(DSYNC_TRACE_ACCESS_FIELDS __field(s64, waited_ns)),
	TP_fast_assign(DSYNC_TRACE_ACCESS_ASSIGN(access); __entry->waited_ns = waited_ns;),
	TP_printk(DSYNC_TRACE_ACCESS_FMT " waited_ns=%lld", DSYNC_TRACE_ACCESS_ARGS,
		  __entry->waited_ns)
);

TRACE_EVENT(dmabuf_sync_overtake,
	TP_PROTO(const struct dsync_access *access, const struct dsync_access *overtaken),
	TP_ARGS(access, overtaken),
	TP_STRUCT__entry(DSYNC_TRACE_ACCESS_FIELDS __field(int, overtaken)),
	TP_fast_assign(DSYNC_TRACE_ACCESS_ASSIGN(access);
		       __entry->overtaken = pid_nr(overtaken->pid);),
	TP_printk(DSYNC_TRACE_ACCESS_FMT " overtaken=%d", DSYNC_TRACE_ACCESS_ARGS,
		  __entry->overtaken)
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
