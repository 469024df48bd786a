# SPDX-License-Identifier: MIT
"""The main job: a camera, a DMA engine and the CPU share dma-bufs. Needs numpy and Pillow.

``python3 -m dmabuf_sync.demo --output DIR`` in the test guest, or anywhere with the kernel modules
and vivid.
"""
