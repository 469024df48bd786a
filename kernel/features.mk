# SPDX-License-Identifier: GPL-2.0-only
#
# What the kernel's headers offer, found by looking into them: distribution
# kernels carry backports, so a version number proves nothing. compat.h is the
# only reader of these symbols.

have = $(if $(shell grep -sqE '$(2)' $(srctree)/include/linux/$(1) && echo y),-DHAVE_$(3))

ccflags-y += $(call have,filelock.h,posix_lock_file,FILELOCK_H)
ccflags-y += $(call have,filelock.h,struct file_lock_core,FILE_LOCK_CORE)
ccflags-y += $(call have,fs.h,get_file_active,GET_FILE_ACTIVE)
# vdmabuf
ccflags-y += $(call have,mm.h,vm_flags_set,VM_FLAGS_SET)
ccflags-y += $(call have,mm.h,memfd_pin_folios,MEMFD_PIN_FOLIOS)
ccflags-y += $(call have,dma-buf.h,struct mutex lock;,DMA_BUF_LOCK)
ccflags-y += $(call have,dma-buf.h,dma_buf_fd_install,DMA_BUF_FD_INSTALL)
