// SPDX-License-Identifier: GPL-2.0-only
/*
 * vdmabuf: the life of a buffer, from its pages to its dma-buf and back.
 */
#include <linux/err.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "buffer.h"

static struct vdmabuf_buffer *buffer_create(u64 size)
{
	struct vdmabuf_buffer *buffer;

	buffer = kzalloc(sizeof(*buffer), GFP_KERNEL_ACCOUNT);
	if (!buffer)
		return NULL;
	buffer->page_count = size >> PAGE_SHIFT;
	buffer->pages = kvcalloc(buffer->page_count, sizeof(*buffer->pages), GFP_KERNEL_ACCOUNT);
	if (!buffer->pages)
		goto free_buffer;
	mutex_init(&buffer->lock);
	INIT_LIST_HEAD(&buffer->mappings);
	INIT_LIST_HEAD(&buffer->writes);
	return buffer;

free_buffer:
	kfree(buffer);
	return NULL;
}

static void buffer_destroy(struct vdmabuf_buffer *buffer)
{
	mutex_destroy(&buffer->lock);
	kvfree(buffer->pages);
	kfree(buffer);
}

static void count_buffer(const struct vdmabuf_buffer *buffer, int sign)
{
	vdmabuf_count(VDMABUF_COUNT_BUFFERS, sign);
	vdmabuf_count(VDMABUF_COUNT_BYTES, sign * (s64)vdmabuf_size(buffer));
}

/**
 * vdmabuf_buffer_alloc - a buffer of fresh, zeroed pages
 * @size: bytes, checked by the caller
 *
 * Returns: the buffer, or an ERR_PTR: -ENOMEM, -EINTR.
 */
struct vdmabuf_buffer *vdmabuf_buffer_alloc(u64 size)
{
	struct vdmabuf_buffer *buffer = buffer_create(size);
	int err;

	if (!buffer)
		return ERR_PTR(-ENOMEM);
	err = vdmabuf_pages_alloc(buffer);
	if (err)
		goto destroy;
	count_buffer(buffer, 1);
	return buffer;

destroy:
	buffer_destroy(buffer);
	return ERR_PTR(err);
}

/**
 * vdmabuf_buffer_from_memfd - a buffer of a part of a memfd
 * @memfd: file descriptor of the caller
 * @offset: bytes, a multiple of the page size
 * @size: bytes, checked by the caller
 *
 * Returns: the buffer, or an ERR_PTR: -EBADF, -EINVAL, -ENOMEM.
 */
struct vdmabuf_buffer *vdmabuf_buffer_from_memfd(int memfd, u64 offset, u64 size)
{
	struct vdmabuf_buffer *buffer = buffer_create(size);
	int err;

	if (!buffer)
		return ERR_PTR(-ENOMEM);
	err = vdmabuf_memfd_pin(buffer, memfd, offset);
	if (err)
		goto destroy;
	count_buffer(buffer, 1);
	return buffer;

destroy:
	buffer_destroy(buffer);
	return ERR_PTR(err);
}

/**
 * vdmabuf_buffer_free - give back a buffer and its pages
 * @buffer: without mappings
 */
void vdmabuf_buffer_free(struct vdmabuf_buffer *buffer)
{
	WARN_ON(!list_empty(&buffer->mappings) || !list_empty(&buffer->writes));
	count_buffer(buffer, -1);
	if (buffer->folios)
		vdmabuf_memfd_unpin(buffer);
	else
		vdmabuf_pages_free(buffer);
	buffer_destroy(buffer);
}

static void release(struct dma_buf *dmabuf)
{
	vdmabuf_buffer_free(dmabuf->priv);
}

const struct dma_buf_ops vdmabuf_ops = {
	.attach = vdmabuf_attach,
	.map_dma_buf = vdmabuf_map,
	.unmap_dma_buf = vdmabuf_unmap,
	.begin_cpu_access = vdmabuf_begin_cpu_access,
	.end_cpu_access = vdmabuf_end_cpu_access,
	.mmap = vdmabuf_mmap,
	.vmap = vdmabuf_vmap,
	.vunmap = vdmabuf_vunmap,
	.release = release,
};

/* Seen in fdinfo and in debugfs; the dma-buf core frees it. */
static int set_name(struct dma_buf *dmabuf, const char *name)
{
	char *copy;

	if (!*name)
		return 0;
	copy = kstrdup(name, GFP_KERNEL);
	if (!copy)
		return -ENOMEM;
	spin_lock(&dmabuf->name_lock);
	dmabuf->name = copy;
	spin_unlock(&dmabuf->name_lock);
	return 0;
}

/**
 * vdmabuf_buffer_export - make a dma-buf of a buffer
 * @buffer: becomes the dma-buf's, unless this fails
 * @name: may be empty
 * @mode: O_RDONLY or O_RDWR
 *
 * Returns: the dma-buf, or an ERR_PTR.
 */
struct dma_buf *vdmabuf_buffer_export(struct vdmabuf_buffer *buffer, const char *name,
				      unsigned int mode)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	struct dma_buf *dmabuf;

	info.ops = &vdmabuf_ops;
	info.size = vdmabuf_size(buffer);
	info.flags = mode;
	info.priv = buffer;
	vdmabuf_framework_register();
	dmabuf = dma_buf_export(&info);
	if (IS_ERR(dmabuf))
		return dmabuf;
	/* A nameless buffer is better than none. */
	if (set_name(dmabuf, name))
		pr_debug("vdmabuf: no memory for the name %s\n", name);
	return dmabuf;
}
