// SPDX-License-Identifier: GPL-2.0-only
/*
 * vdmabuf: pages of a memfd.
 */
#include <linux/err.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>

#include "buffer.h"

/**
 * DOC: memfd
 *
 * The pages stay those of the memfd: what is written through the one is read
 * through the other. They are pinned, so they outlive the memfd. F_SEAL_SHRINK
 * keeps it from being truncated under the buffer. Punching a hole cannot be
 * forbidden; it parts the two there, and the buffer keeps the old pages.
 *
 * A dma-buf is a new way to write to the pages, which is what F_SEAL_WRITE and
 * F_SEAL_FUTURE_WRITE forbid; the pins make a later F_SEAL_WRITE fail with
 * EBUSY. For the same reason the caller needs a memfd open for both.
 */

#define SEALS_NEEDED F_SEAL_SHRINK
#define SEALS_REFUSED (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)

/* Errors: EINVAL not a memfd (one of huge pages neither), or its seals. */
static int check_seals(struct file *file)
{
	unsigned int seals;

	if (!shmem_file(file))
		return -EINVAL;
	seals = READ_ONCE(SHMEM_I(file_inode(file))->seals);
	return (seals & SEALS_NEEDED) == SEALS_NEEDED && !(seals & SEALS_REFUSED) ? 0 : -EINVAL;
}

static bool in_file(struct file *file, loff_t offset, u64 size)
{
	u64 file_size = i_size_read(file_inode(file));

	return offset >= 0 && size <= file_size && offset <= file_size - size;
}

/*
 * Memory that fallocate() only reserved is found in the page cache as it came
 * from the allocator; reading it through the file zeroes it.
 */
static int make_uptodate(struct file *file, struct folio *folio)
{
	struct page *page;

	if (folio_test_uptodate(folio))
		return 0;
	page = shmem_read_mapping_page(file->f_mapping, folio->index);
	if (IS_ERR(page))
		return PTR_ERR(page);
	put_page(page);
	return 0;
}

/* @skip: offset in bytes of the first page in the first folio. */
static int collect_pages(struct vdmabuf_buffer *buffer, struct file *file, size_t skip)
{
	unsigned long count = 0, i, n = skip >> PAGE_SHIFT;

	for (i = 0; i < buffer->folio_count; i++, n = 0) {
		struct folio *folio = buffer->folios[i];
		int err = make_uptodate(file, folio);

		if (err)
			return err;
		for (; n < folio_nr_pages(folio) && count < buffer->page_count; n++)
			buffer->pages[count++] = folio_page(folio, n);
		cond_resched();
	}
	return count == buffer->page_count ? 0 : -EINVAL;
}

/* The inode is locked: no seal is set and no hole punched meanwhile. */
static int pin(struct vdmabuf_buffer *buffer, struct file *file, loff_t offset)
{
	size_t size = vdmabuf_size(buffer);
	pgoff_t skip = 0;
	long count;
	int err;

	err = check_seals(file);
	if (err)
		return err;
	if (!in_file(file, offset, size))
		return -EINVAL;
	count = memfd_pin_folios(file, offset, offset + size - 1, buffer->folios,
				 buffer->page_count, &skip);
	if (count <= 0)
		return count ?: -EINVAL;
	buffer->folio_count = count;
	err = collect_pages(buffer, file, skip);
	if (err)
		unpin_folios(buffer->folios, buffer->folio_count);
	return err;
}

/**
 * vdmabuf_memfd_pin - fill a buffer with pages of a memfd
 * @buffer: has none yet
 * @memfd: file descriptor of the caller
 * @offset: bytes, a multiple of the page size
 *
 * Returns: 0; -EBADF; -EINVAL not a memfd, its seals, not in the file; -ENOMEM.
 * There are no pages then.
 */
int vdmabuf_memfd_pin(struct vdmabuf_buffer *buffer, int memfd, loff_t offset)
{
	const fmode_t mode = FMODE_READ | FMODE_WRITE;
	struct inode *inode;
	struct file *file;
	int err = -EBADF;

	file = fget(memfd);
	if (!file)
		return err;
	if ((file->f_mode & mode) != mode)
		goto put_file;
	buffer->folios = kvcalloc(buffer->page_count, sizeof(*buffer->folios),
				  GFP_KERNEL_ACCOUNT);
	if (!buffer->folios) {
		err = -ENOMEM;
		goto put_file;
	}
	inode = file_inode(file);
	inode_lock_shared(inode);
	err = pin(buffer, file, offset);
	inode_unlock_shared(inode);
	if (err)
		goto free_folios;
	fput(file);
	return 0;

free_folios:
	kvfree(buffer->folios);
	buffer->folios = NULL;
put_file:
	fput(file);
	return err;
}

void vdmabuf_memfd_unpin(struct vdmabuf_buffer *buffer)
{
	unpin_folios(buffer->folios, buffer->folio_count);
	kvfree(buffer->folios);
}
