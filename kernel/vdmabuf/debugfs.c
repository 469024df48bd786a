// SPDX-License-Identifier: GPL-2.0-only
/*
 * vdmabuf: /sys/kernel/debug/vdmabuf.
 */
#include <linux/atomic.h>
#include <linux/debugfs.h>
#include <linux/seq_file.h>

#include "buffer.h"

/**
 * DOC: debugfs
 *
 * stats
 *	buffers, bytes, mappings: what there is now. The others count since the
 *	module was loaded, a mapping at a time: calls that made its bytes current
 *	for the CPU or its device, calls that found nothing to do, and the
 *	bytes they covered.
 */

static const char * const names[VDMABUF_COUNTERS] = {
	[VDMABUF_COUNT_BUFFERS] = "buffers",
	[VDMABUF_COUNT_BYTES] = "bytes",
	[VDMABUF_COUNT_MAPPINGS] = "mappings",
	[VDMABUF_COUNT_FOR_CPU] = "for_cpu",
	[VDMABUF_COUNT_FOR_CPU_SKIPPED] = "for_cpu_skipped",
	[VDMABUF_COUNT_FOR_DEVICE] = "for_device",
	[VDMABUF_COUNT_FOR_DEVICE_SKIPPED] = "for_device_skipped",
	[VDMABUF_COUNT_SYNCED_BYTES] = "synced_bytes",
};

static atomic64_t counters[VDMABUF_COUNTERS];
static struct dentry *root;

void vdmabuf_count(enum vdmabuf_counter counter, s64 value)
{
	atomic64_add(value, &counters[counter]);
}

/* Count one more unless there are @limit already. */
bool vdmabuf_count_below(enum vdmabuf_counter counter, s64 limit)
{
	s64 now = atomic64_read(&counters[counter]);

	do {
		if (now >= limit)
			return false;
	} while (!atomic64_try_cmpxchg(&counters[counter], &now, now + 1));
	return true;
}

static int stats_show(struct seq_file *m, void *unused)
{
	unsigned int i;

	for (i = 0; i < VDMABUF_COUNTERS; i++)
		seq_printf(m, "%s %lld\n", names[i], (s64)atomic64_read(&counters[i]));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(stats);

void vdmabuf_debugfs_init(void)
{
	root = debugfs_create_dir("vdmabuf", NULL);
	debugfs_create_file("stats", 0444, root, NULL, &stats_fops);
}

void vdmabuf_debugfs_exit(void)
{
	debugfs_remove_recursive(root);
}
