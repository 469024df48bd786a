// SPDX-License-Identifier: GPL-2.0-only
/*
 * vdmabuf: what dmabuf_sync should know of it.
 */
#include <linux/module.h>

#include "buffer.h"

/**
 * DOC: with or without dmabuf_sync
 *
 * The exporter is of use without the framework, and does not keep it from being
 * unloaded: so it is looked for by name, whenever a buffer is made. It may have
 * come, or come again, since the last one. Only a strict buffer keeps it loaded.
 */

#define HOOKS				\
	.begin_range = vdmabuf_begin_range,	\
	.end_range = vdmabuf_end_range,	\
	.start_dma = vdmabuf_start_dma,	\
	.end_dma = vdmabuf_end_dma

static struct dmabuf_sync_exporter exporters[] = {
	{ .dma_buf_ops = &vdmabuf_ops, HOOKS },
	{ .dma_buf_ops = &vdmabuf_strict_ops, HOOKS, .released = vdmabuf_released },
};

/**
 * vdmabuf_framework_register - offer our hooks to dmabuf_sync if it is loaded
 */
void vdmabuf_framework_register(void)
{
	int (*register_exporter)(struct dmabuf_sync_exporter *exporter);
	unsigned int i;

	register_exporter = symbol_get(dmabuf_sync_register_exporter);
	if (!register_exporter)
		return;
	for (i = 0; i < ARRAY_SIZE(exporters); i++)
		register_exporter(&exporters[i]);
	symbol_put(dmabuf_sync_register_exporter);
}

/**
 * vdmabuf_framework_unregister - there are no buffers left
 */
void vdmabuf_framework_unregister(void)
{
	void (*unregister_exporter)(struct dmabuf_sync_exporter *exporter);
	unsigned int i;

	unregister_exporter = symbol_get(dmabuf_sync_unregister_exporter);
	if (!unregister_exporter)
		return;
	for (i = 0; i < ARRAY_SIZE(exporters); i++)
		unregister_exporter(&exporters[i]);
	symbol_put(dmabuf_sync_unregister_exporter);
}

/**
 * vdmabuf_framework_pin - a strict buffer cannot do without dmabuf_sync
 * @buffer: strict buffer
 *
 * Returns: 0 or -EOPNOTSUPP.
 */
int vdmabuf_framework_pin(struct vdmabuf_buffer *buffer)
{
	buffer->may_access = symbol_get(dmabuf_sync_cpu_may_access);
	return buffer->may_access ? 0 : -EOPNOTSUPP;
}

/**
 * vdmabuf_framework_unpin - undo vdmabuf_framework_pin()
 * @buffer: strict buffer
 */
void vdmabuf_framework_unpin(struct vdmabuf_buffer *buffer)
{
	symbol_put(dmabuf_sync_cpu_may_access);
}
