# SPDX-License-Identifier: MIT
"""The library: memory under a lock, as memoryviews and numpy arrays."""

import asyncio
import faulthandler
import os
import signal

import numpy as np
import pytest
from other_process import PAGE, SIZE, Other

from dmabuf_sync import Access, DmaBuf, Exporter, LockRevoked


def test_a_block_has_the_lock_and_the_memory(buf: DmaBuf, other: Other) -> None:
    with buf.mapped(Access.WRITE, timeout=5) as m:
        m[:4] = b"abcd"
        assert len(m) == SIZE
        assert other.run("buf.lock(READ, blocking=False)") == "BlockingIOError"
    assert other.run("buf.lock(READ, blocking=False)") == "ok"
    with pytest.raises(ValueError, match="released"):
        m[0]
    with buf.mapped(Access.READ) as m:
        assert bytes(m[:4]) == b"abcd"
        assert m.readonly
        with pytest.raises(TypeError, match="read-only"):
            m[0] = 1


def test_only_the_part_that_is_locked(buf: DmaBuf, other: Other) -> None:
    with buf.mapped(Access.WRITE, offset=PAGE + 8, length=8) as m:
        assert len(m) == 8
        m[:] = b"in place"
        assert other.run(f"buf.lock(WRITE, offset=0, length={PAGE}, blocking=False)") == "ok"
        assert other.run(f"buf.lock(READ, offset={PAGE + 15}, length=1, blocking=False)") != "ok"
    assert other.run("buf.unlock()") == "ok"
    with buf.mapped(Access.READ) as m:
        assert bytes(m[PAGE + 8 : PAGE + 16]) == b"in place"


def test_numpy_shares_the_memory(buf: DmaBuf) -> None:
    with buf.mapped(Access.WRITE) as m:
        words = np.frombuffer(m, np.uint32).reshape(-1, 64)
        words[:] = np.arange(SIZE // 4).reshape(-1, 64)
        assert words.flags.writeable
    with buf.mapped(Access.READ) as one, buf.map() as two:
        words = np.frombuffer(one, np.uint32)
        assert words[1000] == 1000
        assert not words.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            words[0] = 1
        two[4000:4004] = bytes(4)
        assert words[1000] == 0, "it is a copy"


def test_what_cannot_be_mapped_is_not_left_locked(buf: DmaBuf, other: Other) -> None:
    with pytest.raises(ValueError, match="no bytes"), buf.mapped(Access.WRITE, offset=SIZE):
        pass
    assert other.run("buf.lock(WRITE, blocking=False)") == "ok"


def test_revoked_and_async(buf: DmaBuf, other: Other) -> None:
    async def main() -> None:
        async with buf.mapped(Access.WRITE, timeout=5) as m:
            m[0] = 77
        async with buf.mapped(Access.READ) as m:
            assert m[0] == 77
        with pytest.raises(LockRevoked):
            async with buf.mapped(Access.WRITE, hold=0.05):
                assert other.run("buf.lock(WRITE, timeout=5)") == "ok"

    asyncio.run(main())


def test_strict_memory_dies_with_the_lock(exporter: Exporter) -> None:
    with exporter.allocate(PAGE, strict=True) as strict:
        with strict.mapped(Access.WRITE) as m:
            array = np.frombuffer(m, np.uint8)
            array[0] = 5
        with pytest.raises(ValueError, match="released"):  # and no signal
            m[0]
        with strict.mapped(Access.READ):
            assert array[0] == 5
        # The mapping is not inherited: the child makes its own.
        child = os.fork()
        if child == 0:
            faulthandler.disable()
            with strict.mapped(Access.READ) as m:
                kept = np.frombuffer(m, np.uint8)
                fine = kept[0] == 5
            os._exit(int(kept[0]) if fine else 3)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGBUS
