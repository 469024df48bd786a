// SPDX-License-Identifier: GPL-2.0-only
/*
 * vdmabuf: the life of a buffer, from its pages to its dma-buf and back.
 */
#include <linux/dma-mapping.h>
#include <linux/err.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "../user_limit.h"
#include "buffer.h"

static DEFINE_USER_LIMIT(users);

static int count_buffer(struct vdmabuf_buffer *buffer)
{
	buffer->user = user_limit_charge(&users, vdmabuf_max_user_buffers());
	if (IS_ERR(buffer->user))
		return PTR_ERR(buffer->user);
	if (!vdmabuf_count_below(VDMABUF_COUNT_BUFFERS, vdmabuf_max_buffers())) {
		user_limit_uncharge(&users, buffer->user);
		return -ENOSPC;
	}
	vdmabuf_count(VDMABUF_COUNT_BYTES, vdmabuf_size(buffer));
	return 0;
}

static void uncount_buffer(const struct vdmabuf_buffer *buffer)
{
	vdmabuf_count(VDMABUF_COUNT_BUFFERS, -1);
	vdmabuf_count(VDMABUF_COUNT_BYTES, -(s64)vdmabuf_size(buffer));
	user_limit_uncharge(&users, buffer->user);
}

static struct vdmabuf_buffer *buffer_create(u64 size, u32 flags)
{
	struct vdmabuf_buffer *buffer;
	int err = -ENOMEM;

	buffer = kzalloc(sizeof(*buffer), GFP_KERNEL_ACCOUNT);
	if (!buffer)
		return ERR_PTR(err);
	buffer->flags = flags;
	buffer->page_count = size >> PAGE_SHIFT;
	buffer->dma_mask = DMA_BIT_MASK(64);
	buffer->pages = kvcalloc(buffer->page_count, sizeof(*buffer->pages), GFP_KERNEL_ACCOUNT);
	if (!buffer->pages)
		goto free_buffer;
	err = count_buffer(buffer);
	if (err)
		goto free_pages;
	buffer->memcg = get_mem_cgroup_from_mm(current->mm);
	mutex_init(&buffer->lock);
	mutex_init(&buffer->zap_lock);
	INIT_LIST_HEAD(&buffer->chunks);
	INIT_LIST_HEAD(&buffer->mappings);
	INIT_LIST_HEAD(&buffer->writes);
	return buffer;

free_pages:
	kvfree(buffer->pages);
free_buffer:
	kfree(buffer);
	return ERR_PTR(err);
}

static void buffer_destroy(struct vdmabuf_buffer *buffer)
{
	uncount_buffer(buffer);
	mem_cgroup_put(buffer->memcg);
	mutex_destroy(&buffer->zap_lock);
	mutex_destroy(&buffer->lock);
	kvfree(buffer->pages);
	kfree(buffer);
}

/**
 * vdmabuf_buffer_alloc - a buffer of fresh, zeroed pages
 * @size: bytes, checked by the caller
 * @flags: VDMABUF_ALLOC_*
 *
 * It has no pages before vdmabuf_buffer_back().
 *
 * Returns: the buffer, or an ERR_PTR: -ENOMEM; -ENOSPC too many; -EOPNOTSUPP a
 * strict one without dmabuf_sync.
 */
struct vdmabuf_buffer *vdmabuf_buffer_alloc(u64 size, u32 flags)
{
	struct vdmabuf_buffer *buffer = buffer_create(size, flags);
	int err;

	if (IS_ERR(buffer) || !(flags & VDMABUF_ALLOC_STRICT))
		return buffer;
	err = vdmabuf_framework_pin(buffer);
	if (err) {
		buffer_destroy(buffer);
		return ERR_PTR(err);
	}
	return buffer;
}

/**
 * vdmabuf_buffer_from_memfd - a buffer of a part of a memfd
 * @memfd: file descriptor of the caller
 * @offset: bytes, a multiple of the page size
 * @size: bytes, checked by the caller
 *
 * Returns: the buffer, or an ERR_PTR: -EBADF, -EINVAL, -ENOMEM, -ENOSPC.
 */
struct vdmabuf_buffer *vdmabuf_buffer_from_memfd(int memfd, u64 offset, u64 size)
{
	struct vdmabuf_buffer *buffer = buffer_create(size, 0);
	int err;

	if (IS_ERR(buffer))
		return buffer;
	err = vdmabuf_memfd_pin(buffer, memfd, offset);
	if (err) {
		buffer_destroy(buffer);
		return ERR_PTR(err);
	}
	buffer->backed = true;
	return buffer;
}

/**
 * vdmabuf_buffer_back - somebody is about to use the memory: there has to be some
 * @buffer: buffer, locked
 * @interruptible: by any signal, else by a fatal one only
 *
 * It is chosen such that the devices that are attached by now can reach it, and
 * charged to who made the buffer.
 *
 * Returns: 0; -ENOMEM, also when the memory cgroup is full; -EINTR.
 */
int vdmabuf_buffer_back(struct vdmabuf_buffer *buffer, bool interruptible)
{
	struct mem_cgroup *old;
	int err;

	if (buffer->backed)
		return 0;
	old = set_active_memcg(buffer->memcg);
	if (buffer->flags & VDMABUF_ALLOC_COHERENT)
		err = vdmabuf_coherent_alloc(buffer, interruptible);
	else
		err = vdmabuf_pages_alloc(buffer, interruptible);
	set_active_memcg(old);
	buffer->backed = !err;
	return err;
}

/**
 * vdmabuf_buffer_free - give back a buffer and its pages
 * @buffer: without mappings
 */
void vdmabuf_buffer_free(struct vdmabuf_buffer *buffer)
{
	WARN_ON(!list_empty(&buffer->mappings) || !list_empty(&buffer->writes));
	if (buffer->folios)
		vdmabuf_memfd_unpin(buffer);
	else if (buffer->flags & VDMABUF_ALLOC_COHERENT)
		vdmabuf_coherent_free(buffer);
	else if (buffer->backed)
		vdmabuf_pages_free(buffer);
	if (buffer->may_access)
		vdmabuf_framework_unpin(buffer);
	buffer_destroy(buffer);
}

static void release(struct dma_buf *dmabuf)
{
	vdmabuf_buffer_free(dmabuf->priv);
}

#define VDMABUF_OPS						\
	.attach = vdmabuf_attach,				\
	.map_dma_buf = vdmabuf_map,				\
	.unmap_dma_buf = vdmabuf_unmap,				\
	.begin_cpu_access = vdmabuf_begin_cpu_access,		\
	.end_cpu_access = vdmabuf_end_cpu_access,		\
	.mmap = vdmabuf_mmap,					\
	.vmap = vdmabuf_vmap,					\
	.vunmap = vdmabuf_vunmap,				\
	.release = release

const struct dma_buf_ops vdmabuf_ops = { VDMABUF_OPS };

/* The same: by its address dmabuf_sync knows a buffer that wants to hear of releases. */
const struct dma_buf_ops vdmabuf_strict_ops = { VDMABUF_OPS };

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

	info.ops = buffer->flags & VDMABUF_ALLOC_STRICT ? &vdmabuf_strict_ops : &vdmabuf_ops;
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
