# SPDX-License-Identifier: MIT
"""Every allocation of every call fails once: a clean errno, nothing held, nothing left."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import injector
import pytest
from actors import until
from buffers import allocate
from driver import DMA_READ, DMA_WRITE, QUICK, Driver
from driver import READ as API_READ
from driver import WRITE as API_WRITE
from locks import READ, WRITE, lock, ofd_lock, ofd_test, ofd_trylock, trylock, unlock
from locks import test as test_lock
from state import DEBUGFS, accesses, parameter, proc_locks
from state import Access as Line

from dmabuf_sync import Access, Blitter, Control, Copy, Display, DmaBuf, Exporter, Sync

pytestmark = pytest.mark.skipif(
    not injector.available(), reason="this kernel has no fault injection"
)

# For fcntl() ENOLCK is what ENOMEM is for others; a copy from or to user space fails with EFAULT.
CLEAN = (errno.ENOMEM, errno.ENOLCK, errno.EFAULT)
SIZE = 65536
BUFFERS = 6
"""In a set: more than one step of its growth."""
MOST = 2000
MODULES = ("dmabuf_sync", "vdmabuf", "vblit", "vdisplay")
FLAGS = os.O_RDWR | os.O_CLOEXEC

Stack = contextlib.ExitStack


def nothing(result: Any = None) -> None:
    """When there is nothing to be done."""


@dataclass
class Case:
    """A call, what undoes it, and what has to be done before every try."""

    call: Callable[[], Any]
    undo: Callable[[Any], Any] = nothing
    before: Callable[[], Any] = nothing
    errors: tuple[int, ...] = CLEAN


@dataclass
class Traces:
    """What a failed call must not change."""

    held: list[Line]
    records: int
    files: set[str]
    buffers: int
    users: list[int]

    def leaves(self, old: Traces) -> bool:
        """As before? A signalled fence keeps its module, until somebody makes room for more."""
        users = [min(now, then) for now, then in zip(self.users, old.users, strict=True)]
        return self == replace(old, users=users)


def _buffers() -> int:
    with open("/sys/kernel/debug/vdmabuf/stats") as file:
        return int(dict(line.split() for line in file)["buffers"])


def _users(module: str) -> int:
    with open(f"/sys/module/{module}/refcnt") as file:
        return int(file.read())


def _traces(fds: list[int]) -> Traces:
    return Traces(
        accesses(),
        sum(len(proc_locks(fd)) for fd in fds),
        set(os.listdir("/proc/self/fd")),
        _buffers(),
        [_users(name) for name in MODULES],
    )


@pytest.fixture(scope="module", autouse=True)
def _every_allocation_counts() -> Iterator[None]:
    # What a case holds all the time must not become due.
    old = parameter("hold_timeout_ms", 60_000)
    with injector.settings():
        yield
    parameter("hold_timeout_ms", old)


@pytest.fixture
def inject() -> Iterator[injector.Injector]:
    made = injector.Injector()
    yield made
    made.close()


@pytest.fixture
def fds(bufs: Callable[[int], list[int]]) -> list[int]:
    return bufs(BUFFERS)


def exhaust(inject: injector.Injector, case: Case, fds: list[int]) -> int:
    """Try with the 1st, 2nd, ... allocation failing, until none does; returns how many do."""
    # The last fence of a buffer stays on it and keeps the module: so there has to be one before.
    case.before()
    case.undo(case.call())
    case.before()
    old = _traces(fds)
    for nth in range(1, MOST):
        inject.arm(nth)
        error = 0
        result = None
        try:
            result = case.call()
        except OSError as failure:
            error = failure.errno or -1
        finally:
            failed = inject.disarm()
        if error:
            assert failed, f"{errno.errorcode[error]} for nothing"
            assert error in case.errors, f"{errno.errorcode[error]} for allocation {nth}"
        else:
            case.undo(result)
        # What a case does before every try brings back what it needs, and nothing else.
        case.before()
        try:
            until(lambda: _traces(fds).leaves(old), "undoing")
        except AssertionError:
            assert _traces(fds) == old, f"left by allocation {nth}"
        if not failed:
            return nth - 1
    raise AssertionError(f"more than {MOST} allocations")


def _set(stack: Stack, fds: list[int], access: Access = Access.WRITE) -> Sync:
    sync = stack.enter_context(Sync("nth"))
    for fd in fds:
        sync.add(fd, access)
    return sync


def _unlocks(sync: Sync) -> Callable[[Any], None]:
    return lambda _: sync.unlock()


def _closes(thing: Any) -> None:
    thing.close()


def _overdue(stack: Stack, fds: list[int]) -> Callable[[], None]:
    """Lock for a millisecond: who comes next waits, and then takes the hold away."""
    holder = _set(stack, fds)

    def again() -> None:
        with contextlib.suppress(OSError):
            holder.unlock()
        holder.lock(hold=0.001)

    return again


# Cases of user space: (stack, fds) -> Case

def opening(path: str) -> Callable[[Stack, list[int]], Case]:
    return lambda stack, fds: Case(lambda: os.open(path, FLAGS), os.close)


def create(stack: Stack, fds: list[int]) -> Case:
    stack.enter_context(Sync("opens the device"))
    return Case(lambda: Sync("nth"), _closes)


def add(stack: Stack, fds: list[int]) -> Case:
    """To a new object each time: one that had the buffers before has room for them."""
    made = [Sync("nth")]
    stack.callback(lambda: made[0].close())

    def call() -> None:
        for fd in fds:
            made[0].add(fd, Access.READ)

    def renew() -> None:
        made[0].close()
        made[0] = Sync("nth")

    return Case(call, before=renew)


def sync_lock(stack: Stack, fds: list[int]) -> Case:
    sync = _set(stack, fds)
    return Case(sync.lock, _unlocks(sync))


def sync_trylock(stack: Stack, fds: list[int]) -> Case:
    sync = _set(stack, fds, Access.READ)
    return Case(lambda: sync.lock(blocking=False), _unlocks(sync))


def sync_wait(stack: Stack, fds: list[int]) -> Case:
    sync = _set(stack, fds)
    return Case(sync.lock, _unlocks(sync), before=_overdue(stack, fds[:2]))


def sync_request(stack: Stack, fds: list[int]) -> Case:
    sync = _set(stack, fds)
    return Case(sync.request, _unlocks(sync))


def setlk(kind: int) -> Callable[[Stack, list[int]], Case]:
    return lambda stack, fds: Case(
        lambda: trylock(fds[0], kind, 0, 4096), lambda _: unlock(fds[0])
    )


def setlkw_that_waits(stack: Stack, fds: list[int]) -> Case:
    return Case(
        lambda: lock(fds[0], WRITE), lambda _: unlock(fds[0]), before=_overdue(stack, fds[:1])
    )


def upgrade(stack: Stack, fds: list[int]) -> Case:
    fd = fds[0]
    stack.callback(unlock, fd)
    return Case(
        lambda: trylock(fd, WRITE),
        undo=lambda _: trylock(fd, READ),
        before=lambda: trylock(fd, READ),
    )


def split(stack: Stack, fds: list[int]) -> Case:
    """Unlocking the middle needs a second record."""
    fd = fds[0]
    stack.callback(unlock, fd)
    return Case(
        lambda: unlock(fd, 4096, 4096),
        undo=lambda _: trylock(fd, WRITE, 0, 3 * 4096),
        before=lambda: trylock(fd, WRITE, 0, 3 * 4096),
    )


def getlk(stack: Stack, fds: list[int]) -> Case:
    _set(stack, fds).lock()
    return Case(lambda: test_lock(fds[0], WRITE))


def ofd_setlk(stack: Stack, fds: list[int]) -> Case:
    return Case(lambda: ofd_trylock(fds[0], WRITE), lambda _: ofd_trylock(fds[0], fcntl.F_UNLCK))


def timed_lock(stack: Stack, fds: list[int]) -> Case:
    buffer = DmaBuf(os.dup(fds[0]))
    stack.callback(buffer.close)
    # The library's own descriptor of the device.
    buffer.lock(Access.WRITE, timeout=5)
    buffer.unlock()
    return Case(lambda: buffer.lock(Access.WRITE, timeout=5), lambda _: buffer.unlock())


def reading(name: str) -> Callable[[Stack, list[int]], Case]:
    def case(stack: Stack, fds: list[int]) -> Case:
        def read() -> bytes:
            fd = os.open(f"{DEBUGFS}/{name}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                return os.read(fd, 1 << 16)
            finally:
                os.close(fd)

        _set(stack, fds).lock()
        return Case(read)

    return case


def allocating(flags: dict[str, bool]) -> Callable[[Stack, list[int]], Case]:
    def case(stack: Stack, fds: list[int]) -> Case:
        exporter = stack.enter_context(Exporter())
        return Case(lambda: exporter.allocate(SIZE, name="nth", **flags), _closes)

    return case


def from_memfd(stack: Stack, fds: list[int]) -> Case:
    exporter = stack.enter_context(Exporter())
    memfd = os.memfd_create("nth", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    stack.callback(os.close, memfd)
    os.ftruncate(memfd, SIZE)
    fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    return Case(lambda: exporter.from_memfd(memfd, 0, SIZE), _closes)


def mapping(flags: dict[str, bool]) -> Callable[[Stack, list[int]], Case]:
    """The memory comes with the first mapping."""

    def case(stack: Stack, fds: list[int]) -> Case:
        exporter = stack.enter_context(Exporter())
        fresh: list[DmaBuf] = []

        def allocate() -> None:
            while fresh:
                fresh.pop().close()
            fresh.append(exporter.allocate(SIZE, **flags))

        stack.callback(lambda: fresh[0].close())

        def call() -> None:
            mmap.mmap(fresh[0].fileno(), SIZE).close()

        return Case(call, before=allocate)

    return case


def fill(stack: Stack, fds: list[int]) -> Case:
    blitter = stack.enter_context(Blitter())

    def finish(job: Any) -> None:
        job.wait(30)
        job.close()

    return Case(lambda: blitter.fill(fds[0], 1, wait=False), finish)


def copy_behind_a_lock(stack: Stack, fds: list[int]) -> Case:
    """Waits in the queue, and is granted from a worker."""
    blitter = stack.enter_context(Blitter())

    def finish(job: Any) -> None:
        unlock(fds[0])
        job.wait(30)
        job.close()

    stack.callback(unlock, fds[0])
    return Case(
        lambda: blitter.copy(fds[0], fds[1], wait=False),
        finish,
        before=lambda: trylock(fds[0], WRITE),
    )


def fill_with_in_fence(stack: Stack, fds: list[int]) -> Case:
    blitter = stack.enter_context(Blitter())
    first = stack.enter_context(blitter.fill(fds[1], 1))
    fence = stack.enter_context(first.sync_file())

    def finish(job: Any) -> None:
        job.wait(30)
        job.close()

    def call() -> Any:
        return blitter.submit(fds[0], [Copy(fds[2], SIZE)], in_fences=[fence], wait=False)

    return Case(call, finish)


def job_sync_file(stack: Stack, fds: list[int]) -> Case:
    blitter = stack.enter_context(Blitter())
    job = stack.enter_context(blitter.fill(fds[0], 1))
    job.wait(30)
    return Case(job.sync_file, _closes)


def add_range(stack: Stack, fds: list[int]) -> Case:
    sync = stack.enter_context(Sync("nth"))
    return Case(
        lambda: sync.add(fds[0], Access.WRITE, offset=4096, length=4096),
        lambda _: sync.remove(fds[0]),
    )


def ofd_setlkw_that_waits(stack: Stack, fds: list[int]) -> Case:
    return Case(
        lambda: ofd_lock(fds[0], WRITE),
        lambda _: ofd_trylock(fds[0], fcntl.F_UNLCK),
        before=_overdue(stack, fds[:1]),
    )


def job_info(stack: Stack, fds: list[int]) -> Case:
    blitter = stack.enter_context(Blitter())
    job = stack.enter_context(blitter.fill(fds[0], 1))
    job.wait(30)
    return Case(job.info)


def flip(stack: Stack, fds: list[int]) -> Case:
    def shown(display: Any) -> None:
        display.close()

    def call() -> Display:
        display = Display()
        try:
            display.flip(fds[0])
        except OSError:
            display.close()
            raise
        return display

    return Case(call, shown)


USER_SPACE: dict[str, Callable[[Stack, list[int]], Case]] = {
    **{f"open_{name}": opening(f"/dev/{name}") for name in MODULES},
    "create": create,
    "add": add,
    "sync_lock": sync_lock,
    "sync_trylock": sync_trylock,
    "sync_wait": sync_wait,
    "sync_request": sync_request,
    "setlk_read": setlk(READ),
    "setlk_write": setlk(WRITE),
    "setlkw_that_waits": setlkw_that_waits,
    "upgrade": upgrade,
    "split": split,
    "getlk": getlk,
    "ofd_setlk": ofd_setlk,
    "timed_lock": timed_lock,
    "debugfs_buffers": reading("buffers"),
    "debugfs_stats": reading("stats"),
    "allocate": allocating({}),
    "allocate_coherent": allocating({"coherent": True}),
    "allocate_strict": allocating({"strict": True}),
    "from_memfd": from_memfd,
    "map": mapping({}),
    "map_coherent": mapping({"coherent": True}),
    "fill": fill,
    "copy_behind_a_lock": copy_behind_a_lock,
    "fill_with_in_fence": fill_with_in_fence,
    "job_sync_file": job_sync_file,
    "flip": flip,
    "add_range": add_range,
    "ofd_setlkw_that_waits": ofd_setlkw_that_waits,
}


def remove(stack: Stack, fds: list[int]) -> Case:
    sync = _set(stack, fds)
    return Case(lambda: sync.remove(fds[1]), lambda _: sync.add(fds[1], Access.WRITE))


def sync_unlock(stack: Stack, fds: list[int]) -> Case:
    sync = _set(stack, fds)
    sync.lock()
    return Case(sync.unlock, lambda _: sync.lock(), errors=(errno.EFAULT,))


def take_back(stack: Stack, fds: list[int]) -> Case:
    sync = _set(stack, fds[:2])
    trylock(fds[0], WRITE)
    stack.callback(unlock, fds[0])
    sync.request()
    return Case(sync.unlock, lambda _: sync.request(), errors=(errno.EFAULT,))


def ofd_getlk(stack: Stack, fds: list[int]) -> Case:
    _set(stack, fds).lock()
    return Case(lambda: ofd_test(fds[0], WRITE))


def asking(make: Callable[[], Any]) -> Callable[[Stack, list[int]], Case]:
    return lambda stack, fds: Case(stack.enter_context(make()).info)


# These need not allocate anything.
FRUGAL: dict[str, Callable[[Stack, list[int]], Case]] = {
    "remove": remove,
    "sync_unlock": sync_unlock,
    "take_back": take_back,
    "ofd_getlk": ofd_getlk,
    "job_info": job_info,
    "sync_info": asking(lambda: Sync("nth")),
    "exporter_info": asking(Exporter),
    "blitter_info": asking(Blitter),
    "query": asking(Control),
}


@pytest.mark.parametrize("name", USER_SPACE)
def test_calls_of_user_space(inject: injector.Injector, fds: list[int], name: str) -> None:
    with contextlib.ExitStack() as stack:
        assert exhaust(inject, USER_SPACE[name](stack, fds), fds) > 0


@pytest.mark.parametrize("name", FRUGAL)
def test_frugal_calls(inject: injector.Injector, fds: list[int], name: str) -> None:
    with contextlib.ExitStack() as stack:
        exhaust(inject, FRUGAL[name](stack, fds), fds)


# Cases of drivers: (driver, fds) -> Case

def driver_get(driver: Driver, fds: list[int]) -> Case:
    def call() -> None:
        for fd in fds:
            driver.get(fd, DMA_WRITE)

    def renew() -> None:
        driver.fini()
        driver.init(QUICK)

    return Case(call, before=renew)


def driver_lock(driver: Driver, fds: list[int]) -> Case:
    for fd in fds:
        driver.get(fd, API_WRITE)
    driver.get_resv(0, DMA_READ)
    return Case(driver.lock, lambda _: driver.unlock())


def driver_trylock(driver: Driver, fds: list[int]) -> Case:
    for fd in fds:
        driver.get(fd, DMA_READ)
    return Case(driver.trylock, lambda _: driver.unlock())


def driver_submit(driver: Driver, fds: list[int]) -> Case:
    def renew() -> None:
        """The object keeps the fence of its last job, one that failed, too."""
        driver.fini()
        driver.init(QUICK)
        for fd in fds:
            driver.get(fd, DMA_WRITE)
        driver.get_resv(0, DMA_READ)

    return Case(driver.submit, lambda _: driver.wait_done(), before=renew)


def driver_single(driver: Driver, fds: list[int]) -> Case:
    return Case(
        lambda: driver.single_lock(fds[0], API_READ), lambda _: driver.single_unlock(fds[0])
    )


def driver_start_dma(driver: Driver, fds: list[int]) -> Case:
    return Case(lambda: driver.start_dma(fds[0], 1), lambda _: driver.end_dma())


def driver_fence(driver: Driver, fds: list[int]) -> Case:
    driver.get(fds[0], DMA_WRITE)
    driver.submit()
    driver.wait_done()
    return Case(driver.fence, os.close)


def driver_job_file(driver: Driver, fds: list[int]) -> Case:
    driver.get(fds[0], DMA_WRITE)
    driver.submit()
    driver.wait_done()
    return Case(driver.job_file, os.close)


def driver_get_resv(driver: Driver, fds: list[int]) -> Case:
    def renew() -> None:
        driver.fini()
        driver.init(QUICK)

    return Case(lambda: driver.get_resv(0, DMA_WRITE), before=renew)


def driver_init(driver: Driver, fds: list[int]) -> Case:
    def call() -> Driver:
        other = Driver(None)
        try:
            other.init()
        except OSError:
            other.close()
            raise
        return other

    return Case(call, _closes)


DRIVERS: dict[str, Callable[[Driver, list[int]], Case]] = {
    "init": driver_init,
    "get": driver_get,
    "lock": driver_lock,
    "trylock": driver_trylock,
    "submit": driver_submit,
    "single": driver_single,
    "start_dma": driver_start_dma,
    "get_resv": driver_get_resv,
    "fence": driver_fence,
    "job_file": driver_job_file,
}


@pytest.mark.parametrize("name", DRIVERS)
def test_driver_api(
    inject: injector.Injector, drivers: Callable[..., Driver], fds: list[int], name: str
) -> None:
    driver = drivers(QUICK)
    case = DRIVERS[name](driver, fds)
    assert exhaust(inject, case, fds) > 0


WORKER_ALLOCATIONS = 12
"""More than a worker needs for anything of ours."""


@pytest.mark.parametrize("nth", range(1, WORKER_ALLOCATIONS))
def test_workers(fds: list[int], nth: int) -> None:
    """A lock in the background and a job that waited are finished by workers."""
    with Sync("nth") as sync, Blitter() as blitter:
        for fd in fds[1:]:
            sync.add(fd, Access.WRITE)
        trylock(fds[0], WRITE)
        try:
            injector.arm_workers(nth)
            sync.request()
            job = blitter.copy(fds[0], fds[1], wait=False)
            unlock(fds[0])
            with contextlib.suppress(OSError):
                sync.lock()
            try:
                sync.unlock()
            except OSError as error:
                assert error.errno in (*CLEAN, errno.EPERM)
            try:
                job.wait(30)
            except OSError as error:
                assert error.errno == errno.ENOMEM
            job.close()
        finally:
            injector.arm_workers(0)
            unlock(fds[0])
    # Everything works again.
    for fd in fds:
        trylock(fd, WRITE)
        unlock(fd)
    allocated = allocate("vdmabuf", SIZE)
    os.close(allocated)
