// SPDX-License-Identifier: GPL-2.0-only
/*
 * vdmabuf: /dev/vdmabuf.
 */
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/sizes.h>
#include <linux/uaccess.h>

#include "buffer.h"

/**
 * DOC: vdmabuf
 *
 * An exporter without a device: it makes dma-bufs of fresh pages or of a part
 * of a memfd, for the CPU and for any device that can reach the memory::
 *
 *	struct vdmabuf_alloc alloc = { .size = 1 << 20, .fd_flags = O_RDWR | O_CLOEXEC };
 *
 *	ioctl(open("/dev/vdmabuf", O_RDWR), VDMABUF_IOC_ALLOC, &alloc);
 *	mmap(NULL, alloc.size, PROT_READ | PROT_WRITE, MAP_SHARED, alloc.fd, 0);
 *
 * A struct vdmabuf_buffer belongs to its dma-buf and holds nothing but pages
 * (pages.c, coherent.c, memfd.c, put together by buffer.c), the mappings of devices
 * (dma.c, kept current by cache.c) and that of the kernel (cpu_map.c).
 */

/* MiB; a size has to fit a size_t, with room for the rest of the kernel. */
#define MAX_MAX_SIZE_MB (IS_ENABLED(CONFIG_64BIT) ? 64 * 1024 : 512)

static unsigned int max_size_mb = 256;

static int set_max_size(const char *val, const struct kernel_param *kp)
{
	/* Not ERANGE for what does not even fit an integer. */
	return param_set_uint_minmax(val, kp, 1, MAX_MAX_SIZE_MB) ? -EINVAL : 0;
}

static const struct kernel_param_ops max_size_ops = {
	.set = set_max_size,
	.get = param_get_uint,
};

module_param_cb(max_size_mb, &max_size_ops, &max_size_mb, 0644);
MODULE_PARM_DESC(max_size_mb, "largest buffer in MiB (1 to 65536, default 256)");

static unsigned int max_buffers = 65536;

static int set_limit(const char *val, const struct kernel_param *kp)
{
	return param_set_uint(val, kp) ? -EINVAL : 0;
}

static const struct kernel_param_ops limit_ops = {
	.set = set_limit,
	.get = param_get_uint,
};

module_param_cb(max_buffers, &limit_ops, &max_buffers, 0644);
MODULE_PARM_DESC(max_buffers, "most buffers at a time (default 65536)");

static unsigned int max_user_buffers = 4096;
module_param_cb(max_user_buffers, &limit_ops, &max_user_buffers, 0644);
MODULE_PARM_DESC(max_user_buffers,
		 "most buffers made by one user without CAP_SYS_RESOURCE (default 4096)");

unsigned int vdmabuf_max_user_buffers(void)
{
	return READ_ONCE(max_user_buffers);
}

unsigned int vdmabuf_max_buffers(void)
{
	return READ_ONCE(max_buffers);
}

static u64 max_size(void)
{
	return (u64)READ_ONCE(max_size_mb) * SZ_1M;
}

static int check_size(u64 size)
{
	if (!size || !IS_ALIGNED(size, PAGE_SIZE))
		return -EINVAL;
	return size > max_size() ? -EMSGSIZE : 0;
}

static int check_fd_flags(u32 fd_flags)
{
	u32 mode = fd_flags & O_ACCMODE;

	if (fd_flags & ~(O_ACCMODE | O_CLOEXEC))
		return -EINVAL;
	return mode == O_RDONLY || mode == O_RDWR ? 0 : -EINVAL;
}

/*
 * Turn @buffer into a dma-buf and find a number for it, which the caller has
 * still to install. Consumes @buffer, also on error.
 */
static int reserve_fd(struct vdmabuf_buffer *buffer, const char *name, u32 fd_flags,
		      struct dma_buf **dmabuf)
{
	int fd;

	*dmabuf = vdmabuf_buffer_export(buffer, name, fd_flags & O_ACCMODE);
	if (IS_ERR(*dmabuf)) {
		vdmabuf_buffer_free(buffer);
		return PTR_ERR(*dmabuf);
	}
	fd = get_unused_fd_flags(fd_flags & O_CLOEXEC);
	if (fd < 0)
		dma_buf_put(*dmabuf);
	return fd;
}

static void unreserve_fd(int fd, struct dma_buf *dmabuf)
{
	put_unused_fd(fd);
	dma_buf_put(dmabuf);
}

/* Errors: EFAULT; EINVAL pad. */
static long ioctl_query(void __user *arg)
{
	struct vdmabuf_query query;

	if (copy_from_user(&query, arg, sizeof(query)))
		return -EFAULT;
	if (query.pad)
		return -EINVAL;
	query.abi_version = VDMABUF_ABI_VERSION;
	query.capabilities = VDMABUF_CAP_COHERENT | VDMABUF_CAP_STRICT;
	query.max_size = max_size();
	query.page_size = PAGE_SIZE;
	return copy_to_user(arg, &query, sizeof(query)) ? -EFAULT : 0;
}

/*
 * Errors: EFAULT; EINVAL flags, pad, fd_flags, name not terminated, size zero
 * or misaligned; EMSGSIZE; ENOSPC too many; EOPNOTSUPP strict, and dmabuf_sync is not
 * loaded; ENOMEM; EMFILE, ENFILE.
 */
static long ioctl_alloc(void __user *arg)
{
	struct vdmabuf_buffer *buffer;
	struct vdmabuf_alloc alloc;
	struct dma_buf *dmabuf;
	int err;

	if (copy_from_user(&alloc, arg, sizeof(alloc)))
		return -EFAULT;
	if ((alloc.flags & ~VDMABUF_ALLOC_FLAGS) || alloc.pad)
		return -EINVAL;
	if (strnlen(alloc.name, sizeof(alloc.name)) == sizeof(alloc.name))
		return -EINVAL;
	err = check_fd_flags(alloc.fd_flags);
	if (err)
		return err;
	err = check_size(alloc.size);
	if (err)
		return err;

	buffer = vdmabuf_buffer_alloc(alloc.size, alloc.flags);
	if (IS_ERR(buffer))
		return PTR_ERR(buffer);
	alloc.fd = reserve_fd(buffer, alloc.name, alloc.fd_flags, &dmabuf);
	if (alloc.fd < 0)
		return alloc.fd;
	if (copy_to_user(arg, &alloc, sizeof(alloc))) {
		unreserve_fd(alloc.fd, dmabuf);
		return -EFAULT;
	}
	dma_buf_fd_install(dmabuf, alloc.fd);
	return 0;
}

/*
 * Errors: EFAULT; EBADF memfd not open for reading and writing; EINVAL flags,
 * fd_flags, not a memfd, seals, window empty, misaligned or not in the file;
 * EMSGSIZE; ENOSPC too many; ENOMEM; EMFILE, ENFILE.
 */
static long ioctl_from_memfd(void __user *arg)
{
	struct vdmabuf_from_memfd from;
	struct vdmabuf_buffer *buffer;
	struct dma_buf *dmabuf;
	int err;

	if (copy_from_user(&from, arg, sizeof(from)))
		return -EFAULT;
	if (from.flags || !IS_ALIGNED(from.offset, PAGE_SIZE))
		return -EINVAL;
	err = check_fd_flags(from.fd_flags);
	if (err)
		return err;
	err = check_size(from.size);
	if (err)
		return err;

	buffer = vdmabuf_buffer_from_memfd(from.memfd, from.offset, from.size);
	if (IS_ERR(buffer))
		return PTR_ERR(buffer);
	from.fd = reserve_fd(buffer, "", from.fd_flags, &dmabuf);
	if (from.fd < 0)
		return from.fd;
	if (copy_to_user(arg, &from, sizeof(from))) {
		unreserve_fd(from.fd, dmabuf);
		return -EFAULT;
	}
	dma_buf_fd_install(dmabuf, from.fd);
	return 0;
}

static long vdmabuf_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	void __user *user = (void __user *)arg;

	switch (cmd) {
	case VDMABUF_IOC_QUERY:
		return ioctl_query(user);
	case VDMABUF_IOC_ALLOC:
		return ioctl_alloc(user);
	case VDMABUF_IOC_FROM_MEMFD:
		return ioctl_from_memfd(user);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations vdmabuf_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = vdmabuf_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice vdmabuf_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "vdmabuf",
	.fops = &vdmabuf_fops,
	.mode = 0660,	/* its pages cannot be swapped out */
};

static int __init vdmabuf_init(void)
{
	int err;

	err = vdmabuf_coherent_init();
	if (err)
		return err;
	err = misc_register(&vdmabuf_device);
	if (err)
		goto exit_coherent;
	vdmabuf_debugfs_init();
	return 0;

exit_coherent:
	vdmabuf_coherent_exit();
	return err;
}

/* Not reached while there is a dma-buf: each holds a reference to the module. */
static void __exit vdmabuf_exit(void)
{
	vdmabuf_framework_unregister();
	vdmabuf_debugfs_exit();
	misc_deregister(&vdmabuf_device);
	vdmabuf_coherent_exit();
}

module_init(vdmabuf_init);
module_exit(vdmabuf_exit);

MODULE_DESCRIPTION("Virtual dma-buf exporter");
MODULE_AUTHOR("The dmabuf-sync authors");
MODULE_LICENSE("GPL");
IMPORT_DMA_BUF_NS();
