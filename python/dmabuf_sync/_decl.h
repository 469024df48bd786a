/* SPDX-License-Identifier: MIT */
/*
 * What dmabuf_sync._uapi offers to Python, as cffi reads it. Only names and
 * field types stand here: every "..." is filled in by the C compiler from the
 * kernel's headers, so no number and no layout is written twice.
 */

/* linux/dmabuf_sync.h */
#define DMABUF_SYNC_ABI_VERSION ...
#define DMABUF_SYNC_NAME_LEN ...
#define DMABUF_SYNC_READ ...
#define DMABUF_SYNC_WRITE ...
#define DMABUF_SYNC_DMA ...
#define DMABUF_SYNC_NO_TIMEOUT ...
#define DMABUF_SYNC_CAP_FCNTL ...
#define DMABUF_SYNC_CAP_SETS ...
#define DMABUF_SYNC_CAP_JOBS ...
#define DMABUF_SYNC_CREATE_NO_CACHE ...
#define DMABUF_SYNC_LOCK_NONBLOCK ...
#define DMABUF_SYNC_LOCK_ASYNC ...
#define DMABUF_SYNC_STATE_IDLE ...
#define DMABUF_SYNC_STATE_WAITING ...
#define DMABUF_SYNC_STATE_LOCKED ...
#define DMABUF_SYNC_STATE_FAILED ...
#define DMABUF_SYNC_JOB_QUEUED ...
#define DMABUF_SYNC_JOB_GRANTED ...
#define DMABUF_SYNC_JOB_RUNNING ...
#define DMABUF_SYNC_JOB_DONE ...
#define DMABUF_SYNC_IOC_MAGIC ...
#define DMABUF_SYNC_IOC_QUERY ...
#define DMABUF_SYNC_IOC_CREATE ...
#define DMABUF_SYNC_IOC_TIMED_LOCK ...
#define DMABUF_SYNC_IOC_ADD ...
#define DMABUF_SYNC_IOC_REMOVE ...
#define DMABUF_SYNC_IOC_LOCK ...
#define DMABUF_SYNC_IOC_UNLOCK ...
#define DMABUF_SYNC_IOC_INFO ...
#define DMABUF_SYNC_IOC_JOB_INFO ...
#define DMABUF_SYNC_IOC_JOB_SYNC_FILE ...

struct dmabuf_sync_query {
	uint32_t abi_version;
	uint32_t max_buffers;
	uint64_t capabilities;
	uint32_t hold_timeout_ms;
	uint32_t max_hold_timeout_ms;
	uint64_t pad;
	...;
};
struct dmabuf_sync_create {
	char name[...];
	uint32_t flags;
	int32_t fd;
	...;
};
struct dmabuf_sync_timed_lock {
	int32_t fd;
	uint32_t access;
	uint64_t start;
	uint64_t length;
	int64_t timeout_ns;
	uint32_t hold_timeout_ms;
	uint32_t pad;
	...;
};
struct dmabuf_sync_add {
	int32_t fd;
	uint32_t access;
	uint64_t offset;
	uint64_t length;
	uint64_t pad;
	...;
};
struct dmabuf_sync_remove {
	int32_t fd;
	uint32_t pad;
	...;
};
struct dmabuf_sync_lock {
	uint32_t flags;
	uint32_t hold_timeout_ms;
	int64_t timeout_ns;
	...;
};
struct dmabuf_sync_info {
	uint32_t state;
	uint32_t buffers;
	uint32_t revoked;
	int32_t error;
	...;
};
struct dmabuf_sync_job_info {
	uint32_t state;
	int32_t status;
	uint64_t queued_ns;
	uint64_t granted_ns;
	uint64_t started_ns;
	uint64_t done_ns;
	...;
};
struct dmabuf_sync_job_sync_file {
	int32_t fd;
	uint32_t pad;
	...;
};

/* linux/vdmabuf.h */
#define VDMABUF_ABI_VERSION ...
#define VDMABUF_NAME_LEN ...
#define VDMABUF_CAP_COHERENT ...
#define VDMABUF_CAP_STRICT ...
#define VDMABUF_ALLOC_COHERENT ...
#define VDMABUF_ALLOC_STRICT ...
#define VDMABUF_ALLOC_FLAGS ...
#define VDMABUF_IOC_MAGIC ...
#define VDMABUF_IOC_QUERY ...
#define VDMABUF_IOC_ALLOC ...
#define VDMABUF_IOC_FROM_MEMFD ...

struct vdmabuf_query {
	uint32_t abi_version;
	uint32_t pad;
	uint64_t capabilities;
	uint64_t max_size;
	uint64_t page_size;
	...;
};
struct vdmabuf_alloc {
	uint64_t size;
	uint32_t flags;
	uint32_t fd_flags;
	char name[...];
	int32_t fd;
	uint32_t pad;
	...;
};
struct vdmabuf_from_memfd {
	int32_t memfd;
	uint32_t flags;
	uint64_t offset;
	uint64_t size;
	uint32_t fd_flags;
	int32_t fd;
	...;
};

/* linux/vblit.h */
#define VBLIT_ABI_VERSION ...
#define VBLIT_MAX_OPS ...
#define VBLIT_OP_FILL ...
#define VBLIT_OP_COPY ...
#define VBLIT_OP_BLIT ...
#define VBLIT_CAP_SCALE ...
#define VBLIT_CAP_BLEND ...
#define VBLIT_OP_SCALE ...
#define VBLIT_OP_BLEND ...
#define VBLIT_MAX_IN_FENCES ...
#define VBLIT_SUBMIT_NO_WAIT ...
#define VBLIT_SUBMIT_NO_IMPLICIT ...
#define VBLIT_IOC_MAGIC ...
#define VBLIT_IOC_QUERY ...
#define VBLIT_IOC_SUBMIT ...

struct vblit_query {
	uint32_t abi_version;
	uint32_t max_ops;
	uint64_t capabilities;
	uint32_t engines;
	uint32_t pad;
	...;
};
struct vblit_rect {
	uint64_t offset;
	uint32_t pitch;
	uint32_t bytes_per_pixel;
	uint32_t x;
	uint32_t y;
	uint32_t width;
	uint32_t height;
	...;
};
struct vblit_op {
	uint32_t op;
	uint32_t flags;
	int32_t src_fd;
	uint32_t color;
	uint64_t length;
	struct vblit_rect src;
	struct vblit_rect dst;
	...;
};
struct vblit_submit {
	uint64_t ops;
	uint32_t num_ops;
	uint32_t flags;
	int32_t dst_fd;
	int32_t job_fd;
	uint64_t in_fences;
	uint32_t num_in_fences;
	uint32_t pad;
	...;
};

/* linux/vdisplay.h */
#define VDISPLAY_EVENTS ...
#define VDISPLAY_MIN_PERIOD_US ...
#define VDISPLAY_MAX_PERIOD_US ...
#define VDISPLAY_FLIP_NONBLOCK ...
#define VDISPLAY_EVENT_FLIP ...
#define VDISPLAY_EVENT_FRAME ...
#define VDISPLAY_EVENT_RELEASE ...
#define VDISPLAY_IOC_MAGIC ...
#define VDISPLAY_IOC_FLIP ...

struct vdisplay_flip {
	int32_t fd;
	uint32_t flags;
	uint64_t offset;
	uint64_t length;
	uint64_t user_data;
	uint32_t period_us;
	uint32_t pad;
	...;
};
struct vdisplay_event {
	uint32_t type;
	uint32_t crc;
	uint64_t sequence;
	uint64_t time_ns;
	uint64_t user_data;
	uint64_t lost;
	...;
};

/* linux/dma-buf.h */
#define DMA_BUF_SYNC_READ ...
#define DMA_BUF_SYNC_WRITE ...
#define DMA_BUF_SYNC_START ...
#define DMA_BUF_SYNC_END ...
#define DMA_BUF_SYNC_VALID_FLAGS_MASK ...
#define DMA_BUF_NAME_LEN ...
#define DMA_BUF_IOCTL_SYNC ...
#define DMA_BUF_SET_NAME_B ...
#define DMA_BUF_IOCTL_EXPORT_SYNC_FILE ...
#define DMA_BUF_IOCTL_IMPORT_SYNC_FILE ...

struct dma_buf_sync {
	uint64_t flags;
	...;
};
struct dma_buf_export_sync_file {
	uint32_t flags;
	int32_t fd;
	...;
};
struct dma_buf_import_sync_file {
	uint32_t flags;
	int32_t fd;
	...;
};

/* linux/sync_file.h */
#define SYNC_IOC_MERGE ...
#define SYNC_IOC_FILE_INFO ...

struct sync_merge_data {
	char name[...];
	int32_t fd2;
	int32_t fence;
	uint32_t flags;
	uint32_t pad;
	...;
};
struct sync_fence_info {
	char obj_name[...];
	char driver_name[...];
	int32_t status;
	uint32_t flags;
	uint64_t timestamp_ns;
	...;
};
struct sync_file_info {
	char name[...];
	int32_t status;
	uint32_t flags;
	uint32_t num_fences;
	uint32_t pad;
	uint64_t sync_fence_info;
	...;
};

/* linux/udmabuf.h */
#define UDMABUF_FLAGS_CLOEXEC ...
#define UDMABUF_CREATE ...

struct udmabuf_create {
	uint32_t memfd;
	uint32_t flags;
	uint64_t offset;
	uint64_t size;
	...;
};

/* linux/dma-heap.h */
#define DMA_HEAP_IOCTL_ALLOC ...

struct dma_heap_allocation_data {
	uint64_t len;
	uint32_t fd;
	uint32_t fd_flags;
	uint64_t heap_flags;
	...;
};

/* fcntl.h, sys/mman.h */
#define F_GETLK ...
#define F_SETLK ...
#define F_SETLKW ...
#define F_RDLCK ...
#define F_WRLCK ...
#define F_UNLCK ...
#define PROT_READ ...
#define PROT_WRITE ...

struct flock {
	short l_type;
	short l_whence;
	int64_t l_start;
	int64_t l_len;
	int32_t l_pid;
	...;
};

/* _source.c */
int uapi_ioctl(int fd, unsigned long request, void *arg);
int uapi_fcntl_lock(int fd, int command, struct flock *lock);
int uapi_pidfd_getfd(int pidfd, int fd);
int uapi_mmap(void **address, size_t length, int protection, int fd, int64_t offset);
int uapi_munmap(void *address, size_t length);
int uapi_interrupt_signal(void);
