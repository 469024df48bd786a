// SPDX-License-Identifier: GPL-2.0-only
/*
 * vdmabuf: the memory as the CPU sees it, in processes and in the kernel.
 */
#include <linux/iosys-map.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/sizes.h>
#include <linux/vmalloc.h>

#include "buffer.h"

/* A fault brings its neighbours in as well. */
#define FAULT_WINDOW SZ_64K

static vm_fault_t insert(struct vm_area_struct *vma, unsigned long addr)
{
	struct vdmabuf_buffer *buffer = vma->vm_private_data;
	unsigned long n = vma->vm_pgoff + ((addr - vma->vm_start) >> PAGE_SHIFT);

	if (n >= buffer->page_count)
		return VM_FAULT_SIGBUS;
	return vmf_insert_pfn(vma, addr, page_to_pfn(buffer->pages[n]));
}

static vm_fault_t fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	unsigned long window = ALIGN_DOWN(vmf->address, FAULT_WINDOW);
	unsigned long addr = max(window, vma->vm_start);
	unsigned long end = min(window + FAULT_WINDOW - 1, vma->vm_end - 1);
	vm_fault_t ret = insert(vma, vmf->address);

	for (; !(ret & VM_FAULT_ERROR) && addr < end; addr += PAGE_SIZE)
		if (insert(vma, addr) & VM_FAULT_ERROR)
			break;
	return ret;
}

static const struct vm_operations_struct vm_ops = {
	.fault = fault,
};

/**
 * vdmabuf_mmap - let a process map the buffer, or a part of it
 * @dmabuf: buffer
 * @vma: within the buffer, says the dma-buf core
 *
 * Pages go in by frame number: those of a memfd must not be counted as mapped
 * by a second file, and nobody shall pin them through a process. That rules
 * out copy on write: MAP_PRIVATE is for reading.
 *
 * Returns: 0; -EINVAL writing with MAP_PRIVATE; -EACCES writing a buffer
 * exported with O_RDONLY. The VFS checks that for the dma-buf's own file
 * descriptor, but not for an importer's that comes through dma_buf_mmap().
 */
int vdmabuf_mmap(struct dma_buf *dmabuf, struct vm_area_struct *vma)
{
	bool writable = dmabuf->file->f_mode & FMODE_WRITE;
	bool shared = vma->vm_flags & VM_MAYSHARE;

	if ((vma->vm_flags & VM_WRITE) && !shared)
		return -EINVAL;
	if ((vma->vm_flags & VM_WRITE) && !writable)
		return -EACCES;
	if (!shared || !writable)
		vm_flags_clear(vma, VM_MAYWRITE);
	vm_flags_set(vma, VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_ops = &vm_ops;
	vma->vm_private_data = dmabuf->priv;
	return 0;
}

/* The dma-buf core counts its users and asks once; -ENOMEM. */
int vdmabuf_vmap(struct dma_buf *dmabuf, struct iosys_map *map)
{
	struct vdmabuf_buffer *buffer = dmabuf->priv;
	void *vaddr;

	dma_buf_assert_held(dmabuf);
	vaddr = vmap(buffer->pages, buffer->page_count, VM_MAP, PAGE_KERNEL);
	if (!vaddr)
		return -ENOMEM;
	mutex_lock(&buffer->lock);
	buffer->vaddr = vaddr;
	mutex_unlock(&buffer->lock);
	iosys_map_set_vaddr(map, vaddr);
	return 0;
}

void vdmabuf_vunmap(struct dma_buf *dmabuf, struct iosys_map *map)
{
	struct vdmabuf_buffer *buffer = dmabuf->priv;

	dma_buf_assert_held(dmabuf);
	mutex_lock(&buffer->lock);
	buffer->vaddr = NULL;
	mutex_unlock(&buffer->lock);
	vunmap(map->vaddr);
}
