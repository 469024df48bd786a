// SPDX-License-Identifier: GPL-2.0-only
/*
 * vblit: an engine executes a job.
 */
#include <linux/hrtimer.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/sched.h>

#include "vblit.h"

/**
 * DOC: executing a job
 *
 * Operations are taken apart into pieces that a backend can move at once. After
 * each piece the engine waits until it has taken as long as the speed says, and
 * looks whether it was told to stop.
 *
 * Pixels that are scaled or blended go through the engine's scratch memory.
 */

/* Parts of the scratch memory */
#define ROOM	(VBLIT_SCRATCH / 4)
#define SOURCE	0
#define BELOW	ROOM
#define RESULT	(2 * ROOM)

/* In bytes, as a part of a chunk: finding the addresses of a piece takes its time, too. */
#define PIECE_COST 256

/**
 * struct run - a job being executed
 * @engine: by this engine
 * @job: the job
 * @dst: its destination
 * @speed: bytes_per_second at the last look
 * @began: when it became @speed
 * @written: bytes since then
 * @chunk: bytes until the next look, at least PIECE_COST for each piece
 * @left: bytes until a fault strikes
 * @spurious: interrupts come in between
 * @err: what went wrong
 */
struct run {
	struct vblit_engine *engine;
	struct vblit_job *job;
	struct vblit_cursor dst;
	unsigned long speed;
	ktime_t began;
	u64 written;
	u64 chunk;
	u64 left;
	bool spurious;
	int err;
};

static bool stopped(struct vblit_job *job)
{
	return READ_ONCE(job->stopped);
}

static void sleep_until(struct run *run, ktime_t due)
{
	s64 left = ktime_to_ns(ktime_sub(due, ktime_get()));

	if (left > 0)
		wait_event_hrtimeout(run->engine->wait, stopped(run->job), ns_to_ktime(left));
}

/* Take the time that the bytes written so far take. False if told to stop. */
static bool pace(struct run *run)
{
	const struct vblit_backend *backend = run->engine->vdev->backend;
	unsigned long speed = READ_ONCE(run->engine->bytes_per_second);

	cond_resched();
	if (run->spurious)
		vblit_engine_interrupt(run->engine);
	if (run->speed)
		sleep_until(run, ktime_add_ns(run->began,
					      mul_u64_u64_div_u64(run->written, NSEC_PER_SEC,
								  run->speed)));
	if (speed != run->speed) {
		run->speed = speed;
		run->began = ktime_get();
		run->written = 0;
	}
	/* At a low speed some looks a second, so that a new one counts soon. */
	run->chunk = speed ? clamp_t(u64, speed / backend->pieces, 1, backend->chunk) :
			     backend->chunk;
	return !stopped(run->job);
}

/* How much of @length may be written in one piece. */
static size_t piece(const struct run *run, u64 length)
{
	return min3(length, run->chunk, run->left);
}

/* The backend has written, or failed. False if that is the end. */
static bool account(struct run *run, int err, u64 bytes)
{
	if (err) {
		run->err = err;
		return false;
	}
	run->written += bytes;
	run->chunk -= min(max_t(u64, bytes, PIECE_COST), run->chunk);
	run->left -= min(bytes, run->left);
	if (!run->left) {
		run->err = -EIO;
		return false;
	}
	return run->chunk || pace(run);
}

/* A COPY, or a row of a BLIT. */
static bool run_bytes(struct run *run, u64 to, struct vblit_cursor *src, u64 from, u64 length)
{
	const struct vblit_backend *backend = run->engine->vdev->backend;
	u64 done;
	size_t part;
	int err;

	for (done = 0; done < length; done += part) {
		part = piece(run, length - done);
		err = backend->copy(run->engine, &run->dst, to + done, src, from + done, part);
		if (!account(run, err, part))
			return false;
	}
	return true;
}

/* A row of a FILL; the scratch memory is full of its colour. */
static bool run_fill(struct run *run, u64 to, u64 length, unsigned int bytes_per_pixel)
{
	const struct vblit_backend *backend = run->engine->vdev->backend;
	size_t part, phase = 0;
	u64 done;
	int err;

	for (done = 0; done < length; done += part) {
		part = min_t(size_t, piece(run, length - done), VBLIT_SCRATCH - phase);
		err = backend->write(run->engine, &run->dst, to + done, phase, part);
		phase = (phase + part) % bytes_per_pixel;
		if (!account(run, err, part))
			return false;
	}
	return true;
}

/* The source column or row that is nearest to one of the destination. */
static u32 nearest(u32 position, u32 src_size, u32 dst_size)
{
	return div_u64((u64)position * src_size, dst_size);
}

static void scale(u8 *to, const u8 *from, const struct vblit_op *op, u32 column, u32 count)
{
	u32 bpp = op->dst.bytes_per_pixel, first, pixel, i;

	first = nearest(column, op->src.width, op->dst.width);
	for (i = 0; i < count; i++) {
		pixel = nearest(column + i, op->src.width, op->dst.width) - first;
		memcpy(to + i * bpp, from + pixel * bpp, bpp);
	}
}

/* Source over destination, premultiplied, alpha in the last byte of the pixel. */
static void blend(u8 *to, const u8 *from, u32 count)
{
	u32 i, byte;

	for (i = 0; i < count; i++, to += 4, from += 4) {
		u32 rest = 255 - from[3];

		for (byte = 0; byte < 4; byte++)
			to[byte] = min_t(u32, 255, from[byte] + (to[byte] * rest + 127) / 255);
	}
}

/* How many columns from @column on fit into the scratch memory, and their source columns. */
static u32 columns(const struct run *run, const struct vblit_op *op, u32 column, u32 *span)
{
	u32 first = nearest(column, op->src.width, op->dst.width), count;
	u32 room = ROOM / op->dst.bytes_per_pixel;

	count = piece(run, ROOM) / op->dst.bytes_per_pixel;
	count = min(op->dst.width - column, max(count, 1U));
	for (;; count /= 2) {
		*span = nearest(column + count - 1, op->src.width, op->dst.width) - first + 1;
		if (*span <= room)
			return count;
	}
}

/* A row of a BLIT that scales or blends. */
static bool run_pixels(struct run *run, const struct vblit_op *op, u64 to,
		       struct vblit_cursor *src, u64 from)
{
	const struct vblit_backend *backend = run->engine->vdev->backend;
	u8 *scratch = run->engine->scratch;
	u32 bpp = op->dst.bytes_per_pixel, column, count, first, span;
	int err;

	for (column = 0; column < op->dst.width; column += count) {
		u64 at = to + (u64)column * bpp;

		count = columns(run, op, column, &span);
		first = nearest(column, op->src.width, op->dst.width);
		err = backend->read(run->engine, src, from + (u64)first * bpp, SOURCE, span * bpp);
		if (!err && (op->flags & VBLIT_OP_BLEND))
			err = backend->read(run->engine, &run->dst, at, BELOW, count * bpp);
		if (!err) {
			scale(scratch + RESULT, scratch + SOURCE, op, column, count);
			if (op->flags & VBLIT_OP_BLEND) {
				blend(scratch + BELOW, scratch + RESULT, count);
				memcpy(scratch + RESULT, scratch + BELOW, count * bpp);
			}
			err = backend->write(run->engine, &run->dst, at, RESULT, count * bpp);
		}
		if (!account(run, err, (u64)count * bpp))
			return false;
	}
	return true;
}

static u64 row_offset(const struct vblit_rect *rect, u32 row)
{
	return rect->offset + (u64)(rect->y + (u64)row) * rect->pitch +
	       (u64)rect->x * rect->bytes_per_pixel;
}

static bool run_step(struct run *run, const struct vblit_step *step)
{
	const struct vblit_op *op = &step->op;
	u32 bpp = op->dst.bytes_per_pixel, row, i;
	u8 *scratch = run->engine->scratch;
	struct vblit_cursor src;
	bool go_on = true;

	if (step->src)
		vblit_cursor_init(&src, step->src);
	if (op->op == VBLIT_OP_COPY)
		return run_bytes(run, op->dst.offset, &src, op->src.offset, op->length);
	if (op->op == VBLIT_OP_FILL)
		for (i = 0; i < VBLIT_SCRATCH; i++)
			scratch[i] = op->color >> (8 * (i % bpp));

	for (row = 0; go_on && row < op->dst.height; row++) {
		u64 to = row_offset(&op->dst, row), length = (u64)op->dst.width * bpp, from;

		if (op->op == VBLIT_OP_FILL) {
			go_on = run_fill(run, to, length, bpp);
			continue;
		}
		from = row_offset(&op->src, nearest(row, op->src.height, op->dst.height));
		if (op->flags & (VBLIT_OP_SCALE | VBLIT_OP_BLEND))
			go_on = run_pixels(run, op, to, &src, from);
		else
			go_on = run_bytes(run, to, &src, from, length);
	}
	return go_on;
}

static u64 job_bytes(const struct vblit_job *job)
{
	unsigned int i;
	u64 bytes = 0;

	for (i = 0; i < job->step_count; i++)
		bytes += vblit_op_bytes(&job->steps[i].op);
	return bytes;
}

/**
 * vblit_run - execute a job
 * @engine: by this engine
 * @job: job
 * @err: (out) 0, or what went wrong
 *
 * Returns: false if the job was stopped: it is not the engine's any more then.
 */
bool vblit_run(struct vblit_engine *engine, struct vblit_job *job, int *err)
{
	struct run run = { .engine = engine, .job = job, .left = U64_MAX };
	unsigned int latency = READ_ONCE(engine->latency_us), i;

	*err = 0;
	if (READ_ONCE(engine->vdev->gone)) {
		*err = -ENODEV;
		return true;
	}
	switch (READ_ONCE(engine->fault)) {
	case VBLIT_FAULT_HANG:
		wait_event_idle(engine->wait, stopped(job));
		return false;
	case VBLIT_FAULT_ERROR:
		*err = -EIO;
		return true;
	case VBLIT_FAULT_PARTIAL:
		run.left = (job_bytes(job) + 1) / 2;
		break;
	case VBLIT_FAULT_SPURIOUS:
		run.spurious = true;
		break;
	}
	if (latency)
		sleep_until(&run, ktime_add_us(ktime_get(), latency));
	vblit_cursor_init(&run.dst, job->dst);
	if (!pace(&run))
		return false;
	for (i = 0; i < job->step_count; i++) {
		if (run_step(&run, &job->steps[i]))
			continue;
		*err = run.err;
		return run.err != 0;
	}
	return pace(&run);
}
