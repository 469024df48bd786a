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
 * come, or come again, since the last one.
 */

static struct dmabuf_sync_exporter vdmabuf_exporter = {
	.dma_buf_ops = &vdmabuf_ops,
	.begin_range = vdmabuf_begin_range,
	.end_range = vdmabuf_end_range,
	.start_dma = vdmabuf_start_dma,
	.end_dma = vdmabuf_end_dma,
};

/**
 * vdmabuf_framework_register - offer our hooks to dmabuf_sync if it is loaded
 */
void vdmabuf_framework_register(void)
{
	int (*register_exporter)(struct dmabuf_sync_exporter *exporter);

	register_exporter = symbol_get(dmabuf_sync_register_exporter);
	if (!register_exporter)
		return;
	register_exporter(&vdmabuf_exporter);
	symbol_put(dmabuf_sync_register_exporter);
}

/**
 * vdmabuf_framework_unregister - there are no buffers left
 */
void vdmabuf_framework_unregister(void)
{
	void (*unregister_exporter)(struct dmabuf_sync_exporter *exporter);

	unregister_exporter = symbol_get(dmabuf_sync_unregister_exporter);
	if (!unregister_exporter)
		return;
	unregister_exporter(&vdmabuf_exporter);
	symbol_put(dmabuf_sync_unregister_exporter);
}
