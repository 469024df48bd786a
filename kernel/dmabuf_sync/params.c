// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmabuf-sync: module parameters. All can be changed at run time; a value out
 * of bounds is refused with EINVAL and changes nothing.
 */
#include <linux/moduleparam.h>
#include <linux/ktime.h>
#include <linux/jiffies.h>

#include "dsync.h"

#define DSYNC_MAX_TIMEOUT_MS (60 * 60 * 1000)

static unsigned int hold_timeout_ms = 5000;
static unsigned int max_hold_timeout_ms = 60 * 1000;
static unsigned int job_timeout_ms = 10 * 1000;

static int set_timeout(const char *val, const struct kernel_param *kp)
{
	int err = param_set_uint_minmax(val, kp, 1, DSYNC_MAX_TIMEOUT_MS);

	/* What does not fit in an int is out of bounds like the rest. */
	return err == -ERANGE ? -EINVAL : err;
}

static const struct kernel_param_ops timeout_ops = {
	.set = set_timeout,
	.get = param_get_uint,
};

module_param_cb(hold_timeout_ms, &timeout_ops, &hold_timeout_ms, 0644);
MODULE_PARM_DESC(hold_timeout_ms,
		 "hold time of a lock that asks for none, after which others may take it (1 to 3600000, default 5000)");
module_param_cb(max_hold_timeout_ms, &timeout_ops, &max_hold_timeout_ms, 0644);
MODULE_PARM_DESC(max_hold_timeout_ms,
		 "longest hold time a lock may ask for (1 to 3600000, default 60000)");
module_param_cb(job_timeout_ms, &timeout_ops, &job_timeout_ms, 0644);
MODULE_PARM_DESC(job_timeout_ms,
		 "watchdog of a running DMA job (1 to 3600000, default 10000)");

static unsigned int max_user_objects = 4096;
static unsigned int max_user_jobs = 4096;

static int set_limit(const char *val, const struct kernel_param *kp)
{
	return param_set_uint(val, kp) ? -EINVAL : 0;
}

static const struct kernel_param_ops limit_ops = {
	.set = set_limit,
	.get = param_get_uint,
};

module_param_cb(max_user_objects, &limit_ops, &max_user_objects, 0644);
MODULE_PARM_DESC(max_user_objects,
		 "most sync objects of one user without CAP_SYS_RESOURCE (default 4096)");
module_param_cb(max_user_jobs, &limit_ops, &max_user_jobs, 0644);
MODULE_PARM_DESC(max_user_jobs,
		 "most unfinished DMA jobs of one user without CAP_SYS_RESOURCE (default 4096)");

/**
 * dsync_hold_time - how long a hold is safe
 * @ms: what the caller asked for, 0 for the default
 *
 * Returns: the time, never more than max_hold_timeout_ms.
 */
ktime_t dsync_hold_time(unsigned int ms)
{
	return ms_to_ktime(min(ms ?: READ_ONCE(hold_timeout_ms), READ_ONCE(max_hold_timeout_ms)));
}

unsigned int dsync_hold_timeout_ms(void)
{
	return READ_ONCE(hold_timeout_ms);
}

unsigned int dsync_max_hold_timeout_ms(void)
{
	return READ_ONCE(max_hold_timeout_ms);
}

/* In jiffies. */
unsigned long dsync_job_timeout(void)
{
	return msecs_to_jiffies(READ_ONCE(job_timeout_ms));
}

unsigned int dsync_max_user_objects(void)
{
	return READ_ONCE(max_user_objects);
}

unsigned int dsync_max_user_jobs(void)
{
	return READ_ONCE(max_user_jobs);
}
