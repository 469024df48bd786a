// SPDX-License-Identifier: GPL-2.0-only
/*
 * vdmabuf: the memory as the CPU sees it, in processes and in the kernel.
 */
#include <linux/iosys-map.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/sched.h>
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

	if (vmf->pgoff >= buffer->page_count)
		return ret;
	/*
	 * Killed. The kernel may be reading for it, and would fault again at once, and
	 * again, with a CPU that the owner of the lock may need, if it were told to.
	 */
	if (mutex_lock_killable(&buffer->zap_lock))
		return ret;
	if (may_access(vmf, vmf->flags & FAULT_FLAG_WRITE))
		ret = vmf_insert_pfn(vmf->vma, vmf->address,
				     page_to_pfn(buffer->pages[vmf->pgoff]));
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

/* A run of pages at a time, which for fresh memory is up to 2 MiB. */
static int map_pages(struct vm_area_struct *vma, const struct vdmabuf_buffer *buffer)
{
	unsigned long first = vma->vm_pgoff, end = first + vma_pages(vma), n, addr, pfn;
	int err;

	for (addr = vma->vm_start; first < end; first += n, addr += n << PAGE_SHIFT) {
		pfn = page_to_pfn(buffer->pages[first]);
		for (n = 1; first + n < end; n++)
			if (page_to_pfn(buffer->pages[first + n]) != pfn + n)
				break;
		err = remap_pfn_range(vma, addr, pfn, n << PAGE_SHIFT, vma->vm_page_prot);
		if (err)
			return err;
		cond_resched();
	}
	return 0;
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
 * The memory is allocated now at the latest: a fault could only say SIGBUS. All pages go
 * in at once, which costs a tenth of what their faults would. Entries of 2 MiB in the
 * page tables would cost even less, but older kernels cannot keep get_user_pages() off
 * these.
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
	if (!(buffer->flags & VDMABUF_ALLOC_STRICT))
		return map_pages(vma, buffer);
	/* Without VM_IO the process could undo VM_DONTCOPY, with MADV_DOFORK. */
	vm_flags_set(vma, VM_DONTCOPY | VM_IO);
	vma->vm_private_data = dmabuf;
	vma->vm_ops = &strict_vm_ops;
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
