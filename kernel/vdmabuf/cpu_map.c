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
#include "trace.h"

/**
 * DOC: strict buffers
 *
 * The CPU reaches the pages of a strict buffer only while its process holds a
 * lock of the right kind on any byte of them. Each fault asks dmabuf_sync; who
 * has no lock gets SIGBUS and is named by a tracepoint. Pages go in one by one
 * and read-only: the first write asks once more. Whatever is unlocked or revoked
 * is taken out of all processes before somebody else is granted it; who still
 * holds it faults it in again.
 *
 * A child does not inherit such a mapping, as it does not inherit the lock.
 */

/* A fault brings its neighbours in as well. */
#define FAULT_WINDOW SZ_64K

static vm_fault_t insert(struct vm_area_struct *vma, unsigned long addr)
{
	struct dma_buf *dmabuf = vma->vm_private_data;
	struct vdmabuf_buffer *buffer = dmabuf->priv;
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

static bool may_access(struct vm_fault *vmf, bool write)
{
	struct dma_buf *dmabuf = vmf->vma->vm_private_data;
	struct vdmabuf_buffer *buffer = dmabuf->priv;
	loff_t offset = (loff_t)vmf->pgoff << PAGE_SHIFT;

	if (buffer->may_access(dmabuf, offset, offset + PAGE_SIZE - 1, write))
		return true;
	offset += offset_in_page(vmf->real_address);
	trace_vdmabuf_unlocked_access(dmabuf, offset, write);
	return false;
}

/* With the lock that vdmabuf_released() takes: what it takes away stays away. */
static vm_fault_t strict_fault(struct vm_fault *vmf)
{
	struct dma_buf *dmabuf = vmf->vma->vm_private_data;
	struct vdmabuf_buffer *buffer = dmabuf->priv;
	vm_fault_t ret = VM_FAULT_SIGBUS;

	/* Killed: it will not come back for the page. */
	if (mutex_lock_killable(&buffer->zap_lock))
		return VM_FAULT_NOPAGE;
	if (may_access(vmf, vmf->flags & FAULT_FLAG_WRITE))
		ret = insert(vmf->vma, vmf->address);
	mutex_unlock(&buffer->zap_lock);
	return ret;
}

/* The page is made writable after this, unless it has been taken away meanwhile. */
static vm_fault_t strict_mkwrite(struct vm_fault *vmf)
{
	return may_access(vmf, true) ? 0 : VM_FAULT_SIGBUS;
}

static const struct vm_operations_struct strict_vm_ops = {
	.fault = strict_fault,
	.pfn_mkwrite = strict_mkwrite,
};

/**
 * vdmabuf_released - an owner has lost bytes of a strict buffer
 * @dmabuf: buffer
 * @first: first byte
 * @last: last byte, perhaps beyond the end
 */
void vdmabuf_released(struct dma_buf *dmabuf, loff_t first, loff_t last)
{
	struct vdmabuf_buffer *buffer = dmabuf->priv;
	loff_t start = round_down(first, PAGE_SIZE);

	if (first >= vdmabuf_size(buffer))
		return;
	last = min_t(loff_t, last, vdmabuf_size(buffer) - 1);
	mutex_lock(&buffer->zap_lock);
	unmap_mapping_range(dmabuf->file->f_mapping, start, last + 1 - start, 1);
	mutex_unlock(&buffer->zap_lock);
}

static int back(struct vdmabuf_buffer *buffer)
{
	int err = mutex_lock_killable(&buffer->lock);

	if (err)
		return err;
	err = vdmabuf_buffer_back(buffer, false);
	mutex_unlock(&buffer->lock);
	return err;
}

/**
 * vdmabuf_mmap - let a process map the buffer, or a part of it
 * @dmabuf: buffer
 * @vma: within the buffer, says the dma-buf core
 *
 * Pages go in by frame number: those of a memfd must not be counted as mapped
 * by a second file, and nobody shall pin them through a process. That rules
 * out copy on write: MAP_PRIVATE is for reading.
 *
 * The memory is allocated now at the latest: a fault could only say SIGBUS.
 *
 * Returns: 0; -ENOMEM; -EINTR killed; -EINVAL writing with MAP_PRIVATE; -EACCES writing a buffer
 * exported with O_RDONLY. The VFS checks that for the dma-buf's own file
 * descriptor, but not for an importer's that comes through dma_buf_mmap().
 */
int vdmabuf_mmap(struct dma_buf *dmabuf, struct vm_area_struct *vma)
{
	bool writable = dmabuf->file->f_mode & FMODE_WRITE;
	struct vdmabuf_buffer *buffer = dmabuf->priv;
	bool shared = vma->vm_flags & VM_MAYSHARE;
	int err;

	if ((vma->vm_flags & VM_WRITE) && !shared)
		return -EINVAL;
	if ((vma->vm_flags & VM_WRITE) && !writable)
		return -EACCES;
	if (!shared || !writable)
		vm_flags_clear(vma, VM_MAYWRITE);
	err = back(buffer);
	if (err)
		return err;
	vm_flags_set(vma, VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_page_prot = vdmabuf_coherent_prot(buffer, vma->vm_page_prot);
	vma->vm_private_data = dmabuf;
	vma->vm_ops = &vm_ops;
	if (buffer->flags & VDMABUF_ALLOC_STRICT) {
		/* Without VM_IO the process could undo that, with MADV_DOFORK. */
		vm_flags_set(vma, VM_DONTCOPY | VM_IO);
		vma->vm_ops = &strict_vm_ops;
	}
	return 0;
}

/* The dma-buf core counts its users and asks once; -ENOMEM, -EINTR killed. */
int vdmabuf_vmap(struct dma_buf *dmabuf, struct iosys_map *map)
{
	struct vdmabuf_buffer *buffer = dmabuf->priv;
	void *vaddr;
	int err;

	dma_buf_assert_held(dmabuf);
	err = back(buffer);
	if (err)
		return err;
	vaddr = vmap(buffer->pages, buffer->page_count, VM_MAP,
		     vdmabuf_coherent_prot(buffer, PAGE_KERNEL));
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
