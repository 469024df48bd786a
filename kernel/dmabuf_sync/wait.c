// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmabuf-sync: waiting to be granted.
 */
#include <linux/sched/signal.h>

#include "dsync.h"
#include "trace.h"

/**
 * dsync_timeout_until - how long to sleep
 * @until: CLOCK_MONOTONIC time, KTIME_MAX for ever
 *
 * Rounds up, and adds the jiffy that has begun already. But jiffies are behind the
 * clock where interrupts come late, as in a busy virtual machine, and then catch up
 * at once: who has slept that long has to ask again.
 *
 * Returns: jiffies, 0 if @until has passed.
 */
long dsync_timeout_until(ktime_t until)
{
	ktime_t now;

	if (until == KTIME_MAX)
		return MAX_SCHEDULE_TIMEOUT;
	now = ktime_get();
	if (ktime_compare(until, now) <= 0)
		return 0;
	return min_t(u64, nsecs_to_jiffies64(ktime_to_ns(ktime_sub(until, now))) + 2,
		     MAX_SCHEDULE_TIMEOUT - 1);
}

/**
 * dsync_request_cancel - stop waiting
 * @request: request whose queue pointers are stable; nothing is locked
 *
 * On return it is either off all its queues (DSYNC_IDLE) or it had been
 * granted before (DSYNC_GRANTED).
 */
void dsync_request_cancel(struct dsync_request *request)
{
	struct dsync_txn txn;
	LIST_HEAD(candidates);

	dsync_txn_begin(&txn);
	dsync_txn_lock_request(&txn, request);
	if (request->state == DSYNC_WAITING)
		dsync_request_dequeue(request, &candidates);
	dsync_txn_end(&txn);
	dsync_grant_candidates(&candidates);
}

/**
 * dsync_request_wait - sleep until a request is granted
 * @request: enqueued request
 * @until: CLOCK_MONOTONIC time to give up at, KTIME_MAX for never
 *
 * The granter wakes us under the locks of our queues and may not be through
 * with @request yet: the caller takes one of them before it frees it, which it
 * has to do anyway to complete or to undo the grant.
 *
 * Returns: 0 when granted; -ERESTARTSYS for a signal and -ETIMEDOUT, both
 * with the request off its queues.
 */
int dsync_request_wait(struct dsync_request *request, ktime_t until)
{
	long left;
	int err = 0;

	/*
	 * Never too early: a caller that reads the clock can tell it from a revoked hold.
	 * Not freezable: who is frozen leaves the line, as for a signal. It could be granted
	 * what it waits for otherwise, and nothing would bound that.
	 */
	do {
		left = wait_event_interruptible_timeout(request->wait,
							READ_ONCE(request->state) == DSYNC_GRANTED,
							dsync_timeout_until(until));
	} while (!left && dsync_timeout_until(until));
	if (left < 0)
		err = left;
	else if (!left)
		err = -ETIMEDOUT;

	if (err)
		dsync_request_cancel(request);
	return request->state == DSYNC_GRANTED ? 0 : err;
}
