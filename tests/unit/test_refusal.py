# SPDX-License-Identifier: MIT
"""What the kernel's refusals of a module come to in words. The log lines are real kernels'."""

import errno
import os

import pytest

from dmabuf_sync.modules.refusal import explained

HERE = os.uname().release


@pytest.mark.parametrize(
    ("number", "magic", "log", "words", "hint"),
    [
        (errno.ENOEXEC, "5.4.0 SMP mod_unload", "", f"made for 5.4.0, this is {HERE}", "KDIR="),
        (
            errno.ENOEXEC,
            f"{HERE} SMP",
            "x: version magic '6.1 SMP ' should be '6.1 SMP preempt '",
            "made for '6.1 SMP', this is '6.1 SMP preempt'",
            "KDIR=",
        ),
        (
            errno.EINVAL,
            f"{HERE} SMP",
            "x: disagrees about version of symbol module_layout",
            "another build of .*: module_layout differs",
            "KDIR=",
        ),
        (
            errno.ENOENT,
            "",
            "x: Unknown symbol dma_buf_get (err -2)\nx: Unknown symbol dma_buf_put (err -2)",
            "lacks dma_buf_get, dma_buf_put$",
            "CONFIG_DMA_SHARED_BUFFER",
        ),
        (errno.EKEYREJECTED, "", "", "signed with a key that it trusts", "mokutil"),
        (errno.ENOKEY, "", "", "signed with a key that it trusts", "mokutil"),
        (
            errno.EINVAL,
            "",
            "x: `-1' invalid for parameter `hold_timeout_ms'",
            "'-1' is no value for its parameter hold_timeout_ms",
            "modinfo",
        ),
        (errno.EBUSY, "", "", "something else handles", "unload"),
        (errno.ENOMEM, "", "", "Cannot allocate memory", "dmesg"),
        (errno.EIO, "", "first\nlast words", r"error \(the kernel's log: last words\)", ""),
    ],
)
def test_reasons(number: int, magic: str, log: str, words: str, hint: str) -> None:
    error = explained("dmabuf_sync", number, magic, log.splitlines())
    assert error.errno == number
    with pytest.raises(OSError, match=f"the kernel refuses dmabuf_sync: .*{words}"):
        raise error
    assert hint in error.hint
