// SPDX-License-Identifier: GPL-2.0-only
/*
 * vblit: is an operation one that the engine can do? Nothing is done before
 * all operations of a job have been checked.
 */
#include <linux/math64.h>
#include <linux/overflow.h>
#include <linux/string.h>

#include "vblit.h"

static bool all_zero(const void *data, size_t size)
{
	return !memchr_inv(data, 0, size);
}

/* The bytes that a rectangle touches, from the first to behind the last. */
static int rect_span(const struct vblit_rect *rect, u64 *start, u64 *end)
{
	u64 right = (u64)rect->x + rect->width;
	u64 bottom = (u64)rect->y + rect->height;
	u64 skip;

	if (rect->bytes_per_pixel < 1 || rect->bytes_per_pixel > 4)
		return -EINVAL;
	if (!rect->width || !rect->height || right * rect->bytes_per_pixel > rect->pitch)
		return -EINVAL;
	if (check_mul_overflow((u64)rect->y, (u64)rect->pitch, &skip) ||
	    check_add_overflow(skip, (u64)rect->x * rect->bytes_per_pixel, &skip) ||
	    check_add_overflow(skip, rect->offset, start))
		return -EINVAL;
	if (check_mul_overflow(bottom - 1, (u64)rect->pitch, &skip) ||
	    check_add_overflow(skip, right * rect->bytes_per_pixel, &skip) ||
	    check_add_overflow(skip, rect->offset, end))
		return -EINVAL;
	return 0;
}

static int check_rect(const struct vblit_rect *rect, u64 size)
{
	u64 start, end;
	int err = rect_span(rect, &start, &end);

	if (err)
		return err;
	return end > size ? -EINVAL : 0;
}

static bool segments_overlap(u64 a, u64 a_length, u64 b, u64 b_length)
{
	return a < b + b_length && b < a + a_length;
}

/*
 * Rows at the same distance from each other: row i of @low and row j of @high,
 * which starts @distance behind it, can only meet if i - j is one of two numbers.
 */
static bool rows_overlap(const struct vblit_rect *low, const struct vblit_rect *high, u64 distance)
{
	u64 rows = div_u64(distance, low->pitch), rest = distance - rows * low->pitch;

	return (rest < (u64)low->width * low->bytes_per_pixel && rows < low->height) ||
	       (low->pitch - rest < (u64)high->width * high->bytes_per_pixel &&
		rows + 1 < low->height);
}

/*
 * Both have been checked and are in the same buffer. What lies between the rows
 * counts as well if their pitches differ.
 */
static bool rects_overlap(const struct vblit_rect *a, const struct vblit_rect *b)
{
	u64 a_start, a_end, b_start, b_end;

	if (rect_span(a, &a_start, &a_end) || rect_span(b, &b_start, &b_end))
		return false;
	if (!segments_overlap(a_start, a_end - a_start, b_start, b_end - b_start))
		return false;
	if (a->pitch != b->pitch)
		return true;
	return a_start <= b_start ? rows_overlap(a, b, b_start - a_start) :
				    rows_overlap(b, a, a_start - b_start);
}

static int check_fill(const struct vblit_op *op, u64 dst_size)
{
	if (op->src_fd != -1 || op->length || !all_zero(&op->src, sizeof(op->src)))
		return -EINVAL;
	return check_rect(&op->dst, dst_size);
}

static int check_copy(const struct vblit_op *op, u64 dst_size, u64 src_size, bool same_buffer)
{
	struct vblit_rect src = op->src, dst = op->dst;
	u64 end;

	src.offset = 0;
	dst.offset = 0;
	if (op->color || !op->length || !all_zero(&src, sizeof(src)) ||
	    !all_zero(&dst, sizeof(dst)))
		return -EINVAL;
	if (check_add_overflow(op->src.offset, op->length, &end) || end > src_size)
		return -EINVAL;
	if (check_add_overflow(op->dst.offset, op->length, &end) || end > dst_size)
		return -EINVAL;
	if (same_buffer && segments_overlap(op->src.offset, op->length, op->dst.offset, op->length))
		return -EINVAL;
	return 0;
}

static int check_blit(const struct vblit_op *op, u64 dst_size, u64 src_size, bool same_buffer)
{
	if (op->color || op->length)
		return -EINVAL;
	if (op->src.bytes_per_pixel != op->dst.bytes_per_pixel)
		return -EINVAL;
	if (!(op->flags & VBLIT_OP_SCALE) &&
	    (op->src.width != op->dst.width || op->src.height != op->dst.height))
		return -EINVAL;
	if ((op->flags & VBLIT_OP_BLEND) && op->dst.bytes_per_pixel != 4)
		return -EINVAL;
	if (check_rect(&op->src, src_size) || check_rect(&op->dst, dst_size))
		return -EINVAL;
	return same_buffer && rects_overlap(&op->src, &op->dst) ? -EINVAL : 0;
}

/**
 * vblit_check_op - check one operation
 * @op: as user space gave it
 * @dst_size: bytes of the destination
 * @src_size: bytes of the source, 0 if there is none
 * @same_buffer: source and destination are one dma-buf
 *
 * Returns: 0 or -EINVAL.
 */
int vblit_check_op(const struct vblit_op *op, u64 dst_size, u64 src_size, bool same_buffer)
{
	if (op->flags & ~(op->op == VBLIT_OP_BLIT ? VBLIT_OP_SCALE | VBLIT_OP_BLEND : 0))
		return -EINVAL;
	switch (op->op) {
	case VBLIT_OP_FILL:
		return check_fill(op, dst_size);
	case VBLIT_OP_COPY:
		return check_copy(op, dst_size, src_size, same_buffer);
	case VBLIT_OP_BLIT:
		return check_blit(op, dst_size, src_size, same_buffer);
	default:
		return -EINVAL;
	}
}

/**
 * vblit_op_span - the bytes of a buffer that an operation touches
 * @op: checked operation
 * @rect: &op->src or &op->dst
 * @start: (out) first byte
 * @end: (out) behind the last byte
 */
void vblit_op_span(const struct vblit_op *op, const struct vblit_rect *rect, u64 *start, u64 *end)
{
	if (op->op == VBLIT_OP_COPY) {
		*start = rect->offset;
		*end = rect->offset + op->length;
	} else {
		rect_span(rect, start, end);
	}
}

/**
 * vblit_op_bytes - how much an operation writes
 * @op: checked operation
 *
 * Returns: bytes.
 */
u64 vblit_op_bytes(const struct vblit_op *op)
{
	if (op->op == VBLIT_OP_COPY)
		return op->length;
	return (u64)op->dst.width * op->dst.height * op->dst.bytes_per_pixel;
}
