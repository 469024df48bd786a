/* SPDX-License-Identifier: GPL-2.0-only */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM vdmabuf

#if !defined(VDMABUF_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define VDMABUF_TRACE_H

#include <linux/dma-buf.h>
#include <linux/sched.h>
#include <linux/tracepoint.h>

/* A process touches a strict buffer without a lock that lets it, and gets SIGBUS. */
TRACE_EVENT(vdmabuf_unlocked_access,
	TP_PROTO(const struct dma_buf *dmabuf, u64 offset, bool write),
	TP_ARGS(dmabuf, offset, write),
	TP_STRUCT__entry(
		__field(u64, ino)
		__field(u64, offset)
		__field(bool, write)
		__field(int, pid)
		__array(char, comm, TASK_COMM_LEN)),
	TP_fast_assign(
		__entry->ino = file_inode(dmabuf->file)->i_ino;
		__entry->offset = offset;
		__entry->write = write;
		__entry->pid = task_tgid_nr(current);
		memcpy(__entry->comm, current->comm, TASK_COMM_LEN);),
	TP_printk("ino=%llu type=%s offset=%llu pid=%d comm=%s", __entry->ino,
		  __entry->write ? "W" : "R", __entry->offset, __entry->pid, __entry->comm)
);

#endif /* VDMABUF_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
