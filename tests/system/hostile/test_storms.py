# SPDX-License-Identifier: MIT
"""Storms: whatever befalls those who lock, nothing stays held and the modules can go (C8)."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from actors import Actor, until
from anything import anything
from locks import WRITE, lock, trylock, unlock
from modules import load_all, unload_framework
from state import accesses, counters, until_nothing_is_left, until_waiting, waiting

from dmabuf_sync import Access, Blitter, DmaBuf, Exporter, LockRevoked, Sync, close_control

Actors = Callable[[int], list[Actor]]
Buffers = Callable[[int], list[int]]
SetParameter = Callable[[str, int], None]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]

FOREVER = 1 << 30
HOLD_MS = 30
CPU = Path("/sys/devices/system/cpu/cpu1/online")


@pytest.fixture(autouse=True)
def _calm_afterwards() -> Iterator[None]:
    """Nothing is held, nobody waits, the counters add up, and all can be unloaded."""
    yield
    until_nothing_is_left()
    unload_framework()
    load_all()


def _kill_at_random_moments(fds: list[int], kills: int, seed: int) -> None:
    """Each is replaced by another one, until so many have been killed."""
    chance = random.Random(seed)
    running: list[int] = []

    def start() -> None:
        pid = os.fork()
        if not pid:
            with contextlib.suppress(BaseException):
                anything(fds, chance.getrandbits(32), FOREVER)
            os._exit(1)
        running.append(pid)
        chance.getrandbits(32)  # the next one does something else

    for _ in range(4):
        start()
    for _ in range(kills):
        time.sleep(chance.uniform(0, 0.02))
        pid = running.pop(chance.randrange(len(running)))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        start()
    for pid in running:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.mark.parametrize("kills", [40, 10_000])
def test_kills(bufs: Buffers, set_parameter: SetParameter, kills: int) -> None:
    set_parameter("hold_timeout_ms", HOLD_MS)
    _kill_at_random_moments(bufs(3), kills, seed=kills)


# Memory that runs out

@pytest.fixture
def small_group(tmp_path: Path) -> Iterator[Path]:
    """A memory cgroup of 24 MiB; whoever writes its number into cgroup.procs is in it."""
    mounted = Path("/sys/fs/cgroup")
    if not (mounted / "cgroup.controllers").exists():
        pytest.skip("no cgroup v2 is mounted")
    with open(mounted / "cgroup.subtree_control", "w") as file:
        file.write("+memory")
    group = mounted / "dmabuf_sync_storm"
    group.mkdir()
    (group / "memory.max").write_text(str(24 << 20))
    with contextlib.suppress(OSError):
        (group / "memory.swap.max").write_text("0")
    yield group
    until(lambda: not (group / "cgroup.procs").read_text(), "leaving the cgroup")
    group.rmdir()


def _eat(group: str, fds: list[int]) -> None:
    """In the actor: lock in all ways, then take memory until the kernel says no."""
    Path(group, "cgroup.procs").write_text(str(os.getpid()))
    lock(fds[0], WRITE)
    sync = Sync("eats")
    for fd in fds[1:]:
        sync.add(fd, Access.WRITE)
    sync.lock()
    with Blitter() as blitter:
        blitter.fill(fds[0], 1, wait=False).close()
        eaten = []
        while True:
            eaten.append(bytearray(b"x" * (1 << 20)))


def test_killed_for_memory(bufs: Buffers, actors: Actors, small_group: Path) -> None:
    fds = bufs(3)
    doomed, waiter = actors(2)
    doomed.start(_eat, str(small_group), fds)
    until(lambda: len(accesses()) >= 3, "locking")
    waiter.start(lock, fds[0], WRITE)
    until(lambda: "oom_kill 1" in (small_group / "memory.events").read_text(), "the kill")
    waiter.result()
    for fd in fds[1:]:
        trylock(fd, WRITE)
        unlock(fd)
    waiter.call(unlock, fds[0])
    doomed.kill()


def _allocate_until_refused(group: str) -> int:
    """In the actor: buffers are charged to it; returns how many there was room for."""
    Path(group, "cgroup.procs").write_text(str(os.getpid()))
    kept = []
    with Exporter() as exporter:
        while True:
            buffer = exporter.allocate(1 << 20)
            try:
                with buffer.map() as memory:
                    memory[:4096] = bytes(4096)
            except OSError as error:
                assert error.errno == errno.ENOMEM
                buffer.close()
                break
            kept.append(buffer)
    for buffer in kept:
        with buffer.locked(Access.WRITE, timeout=5):
            pass
        buffer.close()
    return len(kept)


def test_buffers_are_charged(actors: Actors, small_group: Path) -> None:
    """A group that is full gets ENOMEM, and nobody is killed for it."""
    (actor,) = actors(1)
    assert 1 <= actor.call(_allocate_until_refused, str(small_group)) < 24
    assert "oom_kill 0" in (small_group / "memory.events").read_text()
    actor.kill()


# Descriptors that run out

def _no_more_files(fd: int) -> list[int]:
    """In the actor: every call that makes a descriptor, without one to be had."""
    failed: list[int] = []
    close_control()
    with Exporter() as exporter, Blitter() as blitter, Sync("some") as sync:
        sync.add(fd, Access.READ)
        job = blitter.fill(fd, 0)
        job.wait(30)
        most = max(map(int, os.listdir("/proc/self/fd"))) + 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        full = []
        with contextlib.suppress(OSError):
            while True:
                full.append(os.dup(fd))
        for call in (
            lambda: Sync("more"),
            lambda: exporter.allocate(4096),
            lambda: blitter.fill(fd, 0),
            lambda: blitter.fill(fd, 0, wait=False),
            job.sync_file,
        ):
            try:
                call().close()
                failed.append(0)
            except OSError as error:
                failed.append(error.errno or -1)
        # What needs none works on.
        sync.lock()
        sync.unlock()
        lock(fd, WRITE)
        unlock(fd)
        for extra in full:
            os.close(extra)
        job.close()
    return failed


def test_no_descriptor_left(buf: int, actors: Actors) -> None:
    (actor,) = actors(1)
    assert actor.call(_no_more_files, buf) == [errno.EMFILE] * 5
    assert accesses(buf) == []


# A holder that does nothing any more

def _hold_and_come_back(fd: int) -> str:
    buffer = DmaBuf(os.dup(fd))
    buffer.lock(Access.WRITE)
    os.kill(os.getpid(), signal.SIGSTOP)
    try:
        buffer.lock(Access.WRITE, timeout=5)
    except LockRevoked:
        return "revoked"
    return "held"


def test_a_frozen_holder(buf: int, actors: Actors, set_parameter: SetParameter) -> None:
    """It loses its hold when that is due and wanted, and hears of it when it wakes up."""
    set_parameter("hold_timeout_ms", 200)
    frozen, waiter = actors(2)
    frozen.start(_hold_and_come_back, buf)
    until(lambda: accesses(buf), "locking")
    waiter.call(lock, buf, WRITE)
    with Blitter() as blitter, blitter.fill(buf, 1, wait=False) as job:
        waiter.call(unlock, buf)
        job.wait(30)
    frozen.send_signal(signal.SIGCONT)
    assert frozen.result() == "revoked"


def test_a_stopped_waiter_leaves_the_line(buf: int, actors: Actors) -> None:
    """As for any signal; it asks again when it goes on."""
    holder, stopped, last = actors(3)
    holder.call(lock, buf, WRITE)
    stopped.start(lock, buf, WRITE)
    until_waiting(stopped, buf)
    stopped.send_signal(signal.SIGSTOP)
    until(lambda: not waiting(buf), "leaving the line")
    last.start(lock, buf, WRITE)
    until_waiting(last, buf)
    holder.call(unlock, buf)
    last.result()
    last.call(unlock, buf)
    stopped.send_signal(signal.SIGCONT)
    stopped.result()
    stopped.call(unlock, buf)


# A CPU that goes

def test_cpus_come_and_go(bufs: Buffers, actors: Actors, set_parameter: SetParameter) -> None:
    if not CPU.exists():
        pytest.skip("this guest has one CPU, or cannot do without")
    set_parameter("hold_timeout_ms", HOLD_MS)
    fds = bufs(3)
    workers = actors(4)
    for seed, worker in enumerate(workers):
        worker.start(anything, fds, seed, FOREVER)
    try:
        for _ in range(10):
            for state in ("0", "1"):
                CPU.write_text(state)
                before = counters()["grants"]
                until(lambda before=before: counters()["grants"] > before + 20, "going on")
    finally:
        CPU.write_text("1")
    for worker in workers:
        worker.kill()


# A clock that jumps

def test_the_wall_clock_jumps(buf: int, actors: Actors, set_parameter: SetParameter) -> None:
    """Deadlines are of the clock that does not."""
    set_parameter("hold_timeout_ms", 60_000)
    holder, waiter = actors(2)
    holder.call(lock, buf, WRITE)
    now = time.clock_gettime(time.CLOCK_REALTIME)
    try:
        waiter.start(lock, buf, WRITE)
        until_waiting(waiter, buf)
        for jump in (86_400, -86_400, 10 * 365 * 86_400):
            time.clock_settime(time.CLOCK_REALTIME, now + jump)
            trylock_fails = DmaBuf(os.dup(buf))
            with pytest.raises(TimeoutError):
                trylock_fails.lock(Access.WRITE, timeout=0.05)
            trylock_fails.close()
            assert waiting(buf) == [waiter.pid]
    finally:
        time.clock_settime(time.CLOCK_REALTIME, now)
    holder.call(unlock, buf)
    waiter.result()
    waiter.call(unlock, buf)


# A machine that sleeps

POWER = Path("/sys/power")


@pytest.mark.parametrize(
    ("how_far", "state"),
    [("freezer", "freeze"), ("devices", "freeze"), ("platform", "freeze"), ("core", "mem")],
)
def test_suspend(
    buf: int, actors: Actors, set_parameter: SetParameter, how_far: str, state: str
) -> None:
    """Holds stay, jobs go on; who waits asks again, and everybody is served in the end."""
    if not (POWER / "pm_test").exists() or state not in (POWER / "state").read_text():
        pytest.skip(f"this kernel cannot try to suspend ({state})")
    if how_far != "freezer" and "DMABUF_SYNC_SUSPEND" not in os.environ:
        pytest.skip("9p, by which this guest has its folders, does not come back: test-suspend")
    set_parameter("hold_timeout_ms", 60_000)
    holder, *line = actors(4)
    holder.call(lock, buf, WRITE)
    for actor in line:
        actor.start(_take_turn, buf)
        until_waiting(actor, buf)
    with Blitter() as blitter, blitter.fill(buf, 1, wait=False) as job:
        (POWER / "pm_test").write_text(how_far)
        try:
            (POWER / "state").write_text(state)
        finally:
            (POWER / "pm_test").write_text("none")
        for actor in line:
            until_waiting(actor, buf)
        holder.call(unlock, buf)
        for actor in line:
            actor.result()
        job.wait(30)
    for device in Path("/dev").glob("vblit*"):
        with Blitter(str(device)) as blitter, blitter.fill(buf, 1) as job:
            job.wait(30)


def _take_turn(fd: int) -> None:
    lock(fd, WRITE)
    unlock(fd)


@pytest.fixture
def freezer(tmp_path: Path) -> Iterator[Path]:
    """A group of the old cgroup freezer, which stops tasks wherever they sleep."""
    mount = ["mount", "-t", "cgroup", "-o", "freezer", "none", str(tmp_path)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this kernel has no cgroup-v1 freezer")
    group = tmp_path / "group"
    group.mkdir()
    yield group
    (group / "freezer.state").write_text("THAWED")
    for pid in (group / "cgroup.procs").read_text().split():
        (tmp_path / "cgroup.procs").write_text(pid)
    until(lambda: not (group / "cgroup.procs").read_text(), "leaving the group")
    group.rmdir()
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_frozen_waiter_is_not_granted_anything(buf: int, actors: Actors, freezer: Path) -> None:
    """It could not be revoked: it has not got as far as to have a deadline."""
    holder, frozen, other = actors(3)
    holder.call(lock, buf, WRITE)
    frozen.start(_take_turn, buf)
    until_waiting(frozen, buf)
    (freezer / "cgroup.procs").write_text(str(frozen.pid))
    (freezer / "freezer.state").write_text("FROZEN")
    until(lambda: (freezer / "freezer.state").read_text() == "FROZEN\n", "freezing")
    holder.call(unlock, buf)
    other.call(lock, buf, WRITE)
    (freezer / "freezer.state").write_text("THAWED")
    until_waiting(frozen, buf)
    other.call(unlock, buf)
    frozen.result()
