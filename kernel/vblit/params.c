// SPDX-License-Identifier: GPL-2.0-only
/*
 * vblit: module parameters that set all engines at once.
 */
#include <linux/module.h>

#include "vblit.h"

static unsigned long bytes_per_second;
static unsigned int latency_us;
static unsigned int fault;

/**
 * vblit_params_apply - set an engine to the module parameters
 * @engine: engine
 */
void vblit_params_apply(struct vblit_engine *engine)
{
	WRITE_ONCE(engine->bytes_per_second, bytes_per_second);
	WRITE_ONCE(engine->latency_us, latency_us);
	WRITE_ONCE(engine->fault, fault);
}

static void apply_speed(struct vblit_engine *engine)
{
	WRITE_ONCE(engine->bytes_per_second, bytes_per_second);
}

static void apply_latency(struct vblit_engine *engine)
{
	WRITE_ONCE(engine->latency_us, latency_us);
}

static void apply_fault(struct vblit_engine *engine)
{
	WRITE_ONCE(engine->fault, fault);
}

/* What does not fit the type is out of bounds like the rest. */
static int out_of_bounds(int err)
{
	return err == -ERANGE ? -EINVAL : err;
}

static int set_speed(const char *val, const struct kernel_param *kp)
{
	int err = out_of_bounds(param_set_ulong(val, kp));

	if (!err)
		vblit_visit_engines(apply_speed);
	return err;
}

static int set_latency(const char *val, const struct kernel_param *kp)
{
	int err = out_of_bounds(param_set_uint(val, kp));

	if (!err)
		vblit_visit_engines(apply_latency);
	return err;
}

static int set_fault(const char *val, const struct kernel_param *kp)
{
	int err = out_of_bounds(param_set_uint_minmax(val, kp, VBLIT_FAULT_NONE,
						      VBLIT_FAULT_COUNT - 1));

	if (!err)
		vblit_visit_engines(apply_fault);
	return err;
}

static const struct kernel_param_ops speed_ops = {
	.set = set_speed,
	.get = param_get_ulong,
};

static const struct kernel_param_ops latency_ops = {
	.set = set_latency,
	.get = param_get_uint,
};

static const struct kernel_param_ops fault_ops = {
	.set = set_fault,
	.get = param_get_uint,
};

module_param_cb(bytes_per_second, &speed_ops, &bytes_per_second, 0644);
MODULE_PARM_DESC(bytes_per_second,
		 "bytes that every engine writes in a second; 0, the default, for as many as it can");
module_param_cb(latency_us, &latency_ops, &latency_us, 0644);
MODULE_PARM_DESC(latency_us, "microseconds before every engine writes the first byte of a job");
module_param_cb(fault, &fault_ops, &fault, 0644);
MODULE_PARM_DESC(fault,
		 "jobs that begin from now on: 0 work, 1 hang until the watchdog stops them, 2 end with EIO, 3 the same half-way, 4 work, with interrupts that mean nothing");
