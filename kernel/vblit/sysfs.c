// SPDX-License-Identifier: GPL-2.0-only
/*
 * vblit: what can be set for each engine, in /sys/class/misc/vblit/device/engineN.
 */
#include <linux/kstrtox.h>
#include <linux/sysfs.h>

#include "vblit.h"

static struct vblit_engine *to_engine(struct kobject *kobj)
{
	return container_of(kobj, struct vblit_engine, kobj);
}

static ssize_t bytes_per_second_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%lu\n", READ_ONCE(to_engine(kobj)->bytes_per_second));
}

static ssize_t bytes_per_second_store(struct kobject *kobj, struct kobj_attribute *attr,
				      const char *buf, size_t count)
{
	unsigned long value;
	int err = kstrtoul(buf, 0, &value);

	if (err)
		return err;
	WRITE_ONCE(to_engine(kobj)->bytes_per_second, value);
	return count;
}

static ssize_t latency_us_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(to_engine(kobj)->latency_us));
}

static ssize_t latency_us_store(struct kobject *kobj, struct kobj_attribute *attr,
				const char *buf, size_t count)
{
	unsigned int value;
	int err = kstrtouint(buf, 0, &value);

	if (err)
		return err;
	WRITE_ONCE(to_engine(kobj)->latency_us, value);
	return count;
}

static const char * const fault_names[VBLIT_FAULT_COUNT] = {
	[VBLIT_FAULT_NONE] = "none",
	[VBLIT_FAULT_HANG] = "hang",
	[VBLIT_FAULT_ERROR] = "error",
	[VBLIT_FAULT_PARTIAL] = "partial",
	[VBLIT_FAULT_SPURIOUS] = "spurious",
};

static ssize_t fault_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%s\n", fault_names[READ_ONCE(to_engine(kobj)->fault)]);
}

static ssize_t fault_store(struct kobject *kobj, struct kobj_attribute *attr, const char *buf,
			   size_t count)
{
	int fault = sysfs_match_string(fault_names, buf);

	if (fault < 0)
		return fault;
	WRITE_ONCE(to_engine(kobj)->fault, fault);
	return count;
}

static ssize_t spurious_interrupts_show(struct kobject *kobj, struct kobj_attribute *attr,
					char *buf)
{
	return sysfs_emit(buf, "%lu\n", READ_ONCE(to_engine(kobj)->spurious));
}

static struct kobj_attribute bytes_per_second_attr = __ATTR_RW(bytes_per_second);
static struct kobj_attribute latency_us_attr = __ATTR_RW(latency_us);
static struct kobj_attribute fault_attr = __ATTR_RW(fault);
static struct kobj_attribute spurious_interrupts_attr = __ATTR_RO(spurious_interrupts);

static struct attribute *engine_attrs[] = {
	&bytes_per_second_attr.attr,
	&latency_us_attr.attr,
	&fault_attr.attr,
	&spurious_interrupts_attr.attr,
	NULL,
};
ATTRIBUTE_GROUPS(engine);

static void engine_released(struct kobject *kobj)
{
	complete(&to_engine(kobj)->released);
}

static const struct kobj_type engine_type = {
	.release = engine_released,
	.sysfs_ops = &kobj_sysfs_ops,
	.default_groups = engine_groups,
};

/**
 * vblit_engine_show - give an engine its folder
 * @engine: engine
 *
 * Returns: 0 or an error.
 */
int vblit_engine_show(struct vblit_engine *engine)
{
	int err;

	init_completion(&engine->released);
	err = kobject_init_and_add(&engine->kobj, &engine_type, &engine->vdev->dev->kobj,
				   "engine%u", engine->index);
	if (err)
		vblit_engine_hide(engine);
	return err;
}

/**
 * vblit_engine_hide - take its folder away
 * @engine: engine
 */
void vblit_engine_hide(struct vblit_engine *engine)
{
	kobject_put(&engine->kobj);
	wait_for_completion(&engine->released);
}
