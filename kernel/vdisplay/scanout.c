// SPDX-License-Identifier: GPL-2.0-only
/*
 * vdisplay: the hardware, played by a thread.
 */
#include <linux/hrtimer.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/math64.h>

#include "vdisplay.h"

/**
 * DOC: frames
 *
 * A frame begins with the vertical sync: a pending flip takes effect, and the
 * buffer before it is given back. Then the picture is read in SLICES steps over
 * the length of the frame, so that who writes it meanwhile is found out: the CRC
 * is neither that of the old picture nor that of the new one. Between the steps a
 * buffer that is overdue is given back, and the display shows nothing.
 */

#define SLICES 16

/**
 * vdisplay_event - tell the file's readers
 * @display: display
 * @type: VDISPLAY_EVENT_*
 * @crc: for VDISPLAY_EVENT_FRAME
 * @user_data: of the flip
 */
void vdisplay_event(struct vdisplay *display, u32 type, u32 crc, u64 user_data)
{
	struct vdisplay_event *event;

	spin_lock(&display->lock);
	if (display->count == VDISPLAY_EVENTS) {
		display->first = (display->first + 1) % VDISPLAY_EVENTS;
		display->count--;
		display->lost++;
	}
	event = &display->events[(display->first + display->count++) % VDISPLAY_EVENTS];
	event->type = type;
	event->crc = crc;
	event->sequence = display->sequence;
	event->time_ns = ktime_get_ns();
	event->user_data = user_data;
	event->lost = display->lost;
	spin_unlock(&display->lock);
	wake_up_all(&display->wait);
}

static void release(struct vdisplay *display, struct vdisplay_buffer *buffer)
{
	u64 user_data = buffer->user_data;

	vdisplay_buffer_put(buffer);
	vdisplay_event(display, VDISPLAY_EVENT_RELEASE, 0, user_data);
}

static void flip(struct vdisplay *display)
{
	struct vdisplay_buffer *old = display->front;
	bool flipped;

	spin_lock(&display->lock);
	flipped = display->ready;
	if (flipped) {
		display->front = display->pending;
		if (display->pending_period_us)
			display->period_us = display->pending_period_us;
		display->pending = NULL;
		display->ready = false;
		display->flipping = false;
	}
	spin_unlock(&display->lock);
	if (!flipped)
		return;
	if (display->front)
		vdisplay_event(display, VDISPLAY_EVENT_FLIP, 0, display->front->user_data);
	if (old)
		release(display, old);
	wake_up_all(&display->wait);
}

static bool stopping(struct vdisplay *display)
{
	return READ_ONCE(display->stopping);
}

static void sleep_until(struct vdisplay *display, ktime_t due)
{
	s64 left = ktime_to_ns(ktime_sub(due, ktime_get()));

	if (left > 0)
		wait_event_hrtimeout(display->wait, stopping(display), ns_to_ktime(left));
	cond_resched();
}

static void show_nothing(struct vdisplay *display)
{
	struct vdisplay_buffer *old = display->front;

	spin_lock(&display->lock);
	display->front = NULL;
	spin_unlock(&display->lock);
	release(display, old);
}

static void scan(struct vdisplay *display, ktime_t began, u64 period_ns)
{
	u64 start = 0, end;
	u32 crc = ~0;
	int i;

	for (i = 1; i <= SLICES && !stopping(display); i++) {
		struct vdisplay_buffer *front = display->front;

		if (front && vdisplay_buffer_overdue(front)) {
			show_nothing(display);
		} else if (front) {
			end = div_u64(front->length, SLICES) * i;
			if (i == SLICES)
				end = front->length;
			crc = vdisplay_buffer_crc(front, crc, start, end);
			start = end;
		}
		sleep_until(display, ktime_add_ns(began, div_u64(period_ns * i, SLICES)));
	}
	if (display->front && i > SLICES)
		vdisplay_event(display, VDISPLAY_EVENT_FRAME, ~crc, display->front->user_data);
}

/**
 * vdisplay_thread - a display that is switched on
 * @data: display
 *
 * Returns: 0 once it is told to stop; its buffers are given back.
 */
int vdisplay_thread(void *data)
{
	struct vdisplay *display = data;

	while (!stopping(display)) {
		ktime_t began = ktime_get();

		flip(display);
		scan(display, began, (u64)display->period_us * NSEC_PER_USEC);
		spin_lock(&display->lock);
		display->sequence++;
		spin_unlock(&display->lock);
	}
	flip(display);
	if (display->front)
		release(display, display->front);
	while (!kthread_should_stop())
		wait_event_idle(display->wait, kthread_should_stop());
	return 0;
}
