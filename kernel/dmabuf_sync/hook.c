// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmabuf-sync: a lock callback for every dma-buf, at run time.
 */
#include <linux/delay.h>
#include <linux/dma-buf.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/rcupdate.h>
#include <linux/rwsem.h>
#include <linux/vmalloc.h>

#include "dsync.h"

/**
 * DOC: the hook
 *
 * In a kernel of one's own this file is one line in drivers/dma-buf/dma-buf.c:
 * a .lock in dma_buf_fops. As a module we have to add that line to the running
 * kernel. The operations are a constant of the kernel that every dma-buf points
 * to, and that importers recognise a dma-buf by, so giving a file operations
 * of its own would break dma_buf_get(); the shared ones are changed instead:
 * their page is mapped writable a second time for the moment of the change.
 * .flush (empty as well) is used to hear of a close.
 *
 * Both members must be empty before, and are empty again afterwards.
 *
 * To come: while some tasks may have found .lock empty still, all others do
 * what those do. If one took back a lock behind our back that another waits for
 * in our queue, nobody would ever look at that queue again. Once all come here,
 * and none is on the old way any more, our way is taken by all at once.
 *
 * To go:
 *
 * - they are cleared;
 * - synchronize_rcu_tasks(): every task that may have read them has either
 *   entered a callback, and is counted, or will not;
 * - the count drops to zero;
 * - synchronize_rcu_tasks() and synchronize_rcu() again: whoever was between
 *   its last count and its return is back in the kernel proper. The same goes
 *   for the last instructions of work items, fence releases and the like.
 *
 * Holds and waiters pin the module, so that none of this waits for a user.
 */

static const struct file_operations *fops;
static DEFINE_PER_CPU(long, calls);

/* Taken for reading by who goes the old way. */
static DECLARE_RWSEM(old_way);
static bool in_use;

/* As the VFS does it for a file without .lock. */
static int without_us(struct file *file, int cmd, struct file_lock *fl)
{
	if (!IS_GETLK(cmd))
		return posix_lock_file(file, fl, NULL);
	posix_test_lock(file, fl);
	return 0;
}

static int lock_early(struct file *file, int cmd, struct file_lock *fl)
{
	int ret;

	down_read(&old_way);
	if (!in_use) {
		ret = without_us(file, cmd, fl);
		up_read(&old_way);
		return ret;
	}
	up_read(&old_way);
	return dsync_fcntl(file, cmd, fl);
}

static int hook_lock(struct file *file, int cmd, struct file_lock *fl)
{
	int ret;

	this_cpu_inc(calls);
	/* Pairs with dsync_hook_install(): nobody is on the old way any more. */
	if (likely(smp_load_acquire(&in_use)))
		ret = dsync_fcntl(file, cmd, fl);
	else
		ret = lock_early(file, cmd, fl);
	this_cpu_dec(calls);
	return ret;
}

static int hook_flush(struct file *file, fl_owner_t id)
{
	this_cpu_inc(calls);
	dsync_revoked_close(file);
	this_cpu_dec(calls);
	return 0;
}

static long calls_under_way(void)
{
	long sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += per_cpu(calls, cpu);
	return sum;
}

/* What dma_buf_export() insists on; none of it is ever called but release. */
static struct sg_table *probe_map(struct dma_buf_attachment *attach, enum dma_data_direction dir)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static void probe_unmap(struct dma_buf_attachment *attach, struct sg_table *sgt,
			enum dma_data_direction dir)
{
}

static void probe_release(struct dma_buf *dmabuf)
{
}

static const struct dma_buf_ops probe_ops = {
	.map_dma_buf = probe_map,
	.unmap_dma_buf = probe_unmap,
	.release = probe_release,
};

struct probe {
	struct work_struct work;
	const struct file_operations *found;
};

/* A kernel thread can close a file for good at once; a task would do so after we returned. */
static void probe_work(struct work_struct *work)
{
	struct probe *probe = container_of(work, struct probe, work);
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	struct dma_buf *dmabuf;

	info.ops = &probe_ops;
	info.size = PAGE_SIZE;
	info.flags = O_RDWR;
	info.owner = THIS_MODULE;
	info.priv = probe;
	dmabuf = dma_buf_export(&info);
	if (IS_ERR(dmabuf)) {
		probe->found = ERR_CAST(dmabuf);
		return;
	}
	probe->found = dmabuf->file->f_op;
	__fput_sync(dmabuf->file);
}

static const struct file_operations *find_dma_buf_fops(void)
{
	struct probe probe;

	INIT_WORK_ONSTACK(&probe.work, probe_work);
	queue_work(dsync_wq, &probe.work);
	flush_work(&probe.work);
	destroy_work_on_stack(&probe.work);
	return probe.found;
}

/* Write both members through a second, writable mapping of their page or pages. */
static int write_fops(int (*lock)(struct file *, int, struct file_lock *),
		      int (*flush)(struct file *, fl_owner_t))
{
	unsigned long start = (unsigned long)fops & PAGE_MASK;
	unsigned int offset = offset_in_page(fops);
	unsigned int count = PFN_UP(offset + sizeof(*fops)), i;
	struct file_operations *writable;
	struct page *pages[2];
	void *map;

	if (WARN_ON_ONCE(count > ARRAY_SIZE(pages)))
		return -EOPNOTSUPP;
	for (i = 0; i < count; i++)
		pages[i] = virt_to_page(lm_alias((void *)(start + i * PAGE_SIZE)));
	map = vmap(pages, count, VM_MAP, PAGE_KERNEL);
	if (!map)
		return -ENOMEM;
	writable = map + offset;
	WRITE_ONCE(writable->flush, flush);
	WRITE_ONCE(writable->lock, lock);
	vunmap(map);
	return 0;
}

/**
 * dsync_hook_install - from now on fcntl() on dma-bufs comes to us
 *
 * Returns: 0; -EBUSY somebody else has done so already; -ENOMEM.
 */
int dsync_hook_install(void)
{
	int err;

	fops = find_dma_buf_fops();
	if (IS_ERR(fops))
		return PTR_ERR(fops);
	if (fops->lock || fops->flush)
		return -EBUSY;
	err = write_fops(hook_lock, hook_flush);
	if (err)
		return err;
	/* Whoever saw the members empty is done then. */
	synchronize_rcu_tasks();
	down_write(&old_way);
	/* Pairs with hook_lock(). */
	smp_store_release(&in_use, true);
	up_write(&old_way);
	return 0;
}

/**
 * dsync_hook_remove - leave the kernel as it was
 *
 * Nothing is held or waits any more. On return none of our code runs on behalf
 * of a dma-buf.
 */
void dsync_hook_remove(void)
{
	/* Without the mapping we could not go; there is nobody to tell. */
	while (write_fops(NULL, NULL))
		msleep(20);
	synchronize_rcu_tasks();
	while (calls_under_way())
		usleep_range(500, 1000);
	synchronize_rcu_tasks();
	synchronize_rcu();
}
