// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmabuf-sync: locks for dma-bufs.
 */
#include <linux/module.h>

#include "dsync.h"

/**
 * DOC: where to find what
 *
 * who asks		fcntl.c (fcntl), sync_file.c and device.c (ioctls),
 *			sync.c, sync_lock.c, sync_async.c, single.c (drivers),
 *			job.c, job_setup.c, job_wait.c (DMA)
 * who gets it		order.c, grant.c, wait.c, release.c, cycle.c, expire.c
 * on what		queue.c (reservation objects), posix.c (records)
 * around it		fences.c, cache.c, ranges.c, job_fence.c, exporter.c
 * afterwards		revoked.c
 * in the kernel	hook.c
 *
 * dsync.h has the objects and the lock order.
 */

struct workqueue_struct *dsync_wq;
struct workqueue_struct *dsync_signal_wq;
struct workqueue_struct *dsync_expiry_wq;

static int __init dsync_init(void)
{
	int err = -ENOMEM;

	dsync_wq = alloc_workqueue("dmabuf_sync", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	if (!dsync_wq)
		return err;
	dsync_signal_wq = alloc_workqueue("dmabuf_sync_signal",
					  WQ_UNBOUND | WQ_HIGHPRI | WQ_MEM_RECLAIM, 0);
	if (!dsync_signal_wq)
		goto destroy_wq;
	dsync_expiry_wq = alloc_workqueue("dmabuf_sync_expiry", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	if (!dsync_expiry_wq)
		goto destroy_signal_wq;
	err = dsync_queue_init();
	if (err)
		goto destroy_expiry_wq;
	err = dsync_device_init();
	if (err)
		goto exit_queue;
	/* The last that can fail: from now on there are holds that cannot be left behind. */
	err = dsync_hook_install();
	if (err)
		goto exit_device;
	dsync_device_start();
	dsync_debugfs_init();
	return 0;

exit_device:
	dsync_device_exit();
exit_queue:
	dsync_queue_exit();
destroy_expiry_wq:
	destroy_workqueue(dsync_expiry_wq);
destroy_signal_wq:
	destroy_workqueue(dsync_signal_wq);
destroy_wq:
	destroy_workqueue(dsync_wq);
	return err;
}

static void __exit dsync_exit(void)
{
	dsync_exporters_forget();
	dsync_debugfs_exit();
	dsync_device_exit();
	destroy_workqueue(dsync_expiry_wq);
	destroy_workqueue(dsync_signal_wq);
	destroy_workqueue(dsync_wq);
	dsync_hook_remove();
	dsync_revoked_exit();
	dsync_queue_exit();
}

module_init(dsync_init);
module_exit(dsync_exit);

MODULE_DESCRIPTION("Locks for dma-bufs: fcntl, sync objects and DMA jobs");
MODULE_AUTHOR("The dmabuf-sync authors");
MODULE_LICENSE("GPL");
IMPORT_DMA_BUF_NS();
