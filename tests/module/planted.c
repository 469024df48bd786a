// SPDX-License-Identifier: GPL-2.0-only
/*
 * dsync_planted: bugs on purpose.
 */
#include <linux/debugfs.h>
#include <linux/dma-fence.h>
#include <linux/jiffies.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/timer.h>
#include <linux/uaccess.h>
#include <linux/ww_mutex.h>

/**
 * DOC: dsync_planted
 *
 * For tests of the test guest only: whatever is written to the debugfs file
 * dsync_planted by name happens, one bug of every kind that a debug kernel has to
 * notice. Who reads the file gets bytes of the stack that were never written.
 */

static DEFINE_MUTEX(first);
static DEFINE_MUTEX(second);
static DEFINE_SPINLOCK(atomic);
static DEFINE_WW_CLASS(ww_class);
static int __rcu *shared;

static void lock_inversion(void)
{
	mutex_lock(&first);
	mutex_lock(&second);
	mutex_unlock(&second);
	mutex_unlock(&first);

	mutex_lock(&second);
	mutex_lock(&first);
	mutex_unlock(&first);
	mutex_unlock(&second);
}

/* What waits for a fence in the path that signals one never gets it. */
static void allocation_while_signalling(void)
{
	bool cookie = dma_fence_begin_signalling();

	kfree(kmalloc(64, GFP_KERNEL));
	dma_fence_end_signalling(cookie);
}

static void sleep_in_atomic(void)
{
	spin_lock(&atomic);
	might_sleep();
	spin_unlock(&atomic);
}

/* Who has said that these are all the locks it needs takes one more. */
static void ww_mutex_misuse(void)
{
	struct ww_acquire_ctx ctx;
	struct ww_mutex lock;

	ww_mutex_init(&lock, &ww_class);
	ww_acquire_init(&ctx, &ww_class);
	ww_acquire_done(&ctx);
	if (!ww_mutex_lock(&lock, &ctx))
		ww_mutex_unlock(&lock);
	ww_acquire_fini(&ctx);
	ww_mutex_destroy(&lock);
}

static void unprotected_rcu_pointer(void)
{
	/* Without a lock: what it points to may be freed any time. */
	int *pointer = rcu_dereference(shared);

	OPTIMIZER_HIDE_VAR(pointer);
}

static void never_expires(struct timer_list *timer)
{
}

/* The debug kernel stops the timer, so nothing is used later. */
static void active_timer_freed(void)
{
	struct timer_list *timer = kmalloc(sizeof(*timer), GFP_KERNEL);

	if (!timer)
		return;
	timer_setup(timer, never_expires, 0);
	mod_timer(timer, jiffies + 3600 * HZ);
	OPTIMIZER_HIDE_VAR(timer);
	kfree(timer);
}

static void twice_off_the_list(void)
{
	LIST_HEAD(list);
	LIST_HEAD(node);

	list_add(&node, &list);
	list_del(&node);
	list_del(&node);
}

static void use_after_free(void)
{
	char *bytes = kmalloc(64, GFP_KERNEL);

	if (!bytes)
		return;
	/* Or the compiler sees what happens, and warns. */
	OPTIMIZER_HIDE_VAR(bytes);
	kfree(bytes);
	OPTIMIZER_HIDE_VAR(bytes);
	WRITE_ONCE(bytes[8], 1);
}

static void out_of_bounds(void)
{
	size_t length = 100;
	char *bytes;

	OPTIMIZER_HIDE_VAR(length);
	bytes = kmalloc(length, GFP_KERNEL);
	if (!bytes)
		return;
	OPTIMIZER_HIDE_VAR(bytes);
	WRITE_ONCE(bytes[length], 1);
	kfree(bytes);
}

static void index_out_of_bounds(void)
{
	static int table[4];
	unsigned int index = 5;

	OPTIMIZER_HIDE_VAR(index);
	/* Inside the module's data in any case. */
	READ_ONCE(table[index]);
}

static void shift_out_of_bounds(void)
{
	unsigned int bits = 40;
	int one = 1;

	OPTIMIZER_HIDE_VAR(bits);
	one <<= bits;
	OPTIMIZER_HIDE_VAR(one);
}

static void leak(void)
{
	unsigned int i;
	void *bytes;

	/* More than one: a stale register or stack slot may still point to the last. */
	for (i = 0; i < 16; i++) {
		bytes = kmalloc(192, GFP_KERNEL);
		OPTIMIZER_HIDE_VAR(bytes);
	}
}

static const struct {
	const char *name;
	void (*happen)(void);
} bugs[] = {
	{ "lock-inversion", lock_inversion },
	{ "allocation-while-signalling", allocation_while_signalling },
	{ "sleep-in-atomic", sleep_in_atomic },
	{ "ww-mutex-misuse", ww_mutex_misuse },
	{ "unprotected-rcu-pointer", unprotected_rcu_pointer },
	{ "active-timer-freed", active_timer_freed },
	{ "twice-off-the-list", twice_off_the_list },
	{ "use-after-free", use_after_free },
	{ "out-of-bounds", out_of_bounds },
	{ "index-out-of-bounds", index_out_of_bounds },
	{ "shift-out-of-bounds", shift_out_of_bounds },
	{ "leak", leak },
};

/* Errors: EFAULT, EINVAL no such bug. */
static ssize_t planted_write(struct file *file, const char __user *buf, size_t size, loff_t *pos)
{
	char name[40] = "";
	unsigned int i;

	if (size >= sizeof(name))
		return -EINVAL;
	if (copy_from_user(name, buf, size))
		return -EFAULT;
	for (i = 0; i < ARRAY_SIZE(bugs); i++) {
		if (strcmp(strim(name), bugs[i].name))
			continue;
		bugs[i].happen();
		return size;
	}
	return -EINVAL;
}

/* Shows what was never written. Errors: EFAULT. */
static ssize_t planted_read(struct file *file, char __user *buf, size_t size, loff_t *pos)
{
	u64 bytes[8];

	/* Else the compiler sees that nobody writes it. */
	OPTIMIZER_HIDE_VAR(pos);
	barrier_data(bytes);
	size = min(size, sizeof(bytes));
	return copy_to_user(buf, bytes, size) ? -EFAULT : size;
}

static const struct file_operations planted_fops = {
	.owner = THIS_MODULE,
	.read = planted_read,
	.write = planted_write,
};

static struct dentry *file;

static int __init planted_init(void)
{
	file = debugfs_create_file("dsync_planted", 0600, NULL, NULL, &planted_fops);
	return 0;
}

static void __exit planted_exit(void)
{
	debugfs_remove(file);
}

module_init(planted_init);
module_exit(planted_exit);

MODULE_DESCRIPTION("Bugs on purpose, to see that a debug kernel notices them");
MODULE_AUTHOR("The dmabuf-sync authors");
MODULE_LICENSE("GPL");
