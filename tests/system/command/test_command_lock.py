# SPDX-License-Identifier: MIT
"""dmabuf-sync lock on the dma-buf of another process: this one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from actors import Actor, until
from locks import READ, WRITE, lock, trylock, unlock
from running import NOBODY, Command, Outcome
from state import accesses, until_waiting

pytestmark = pytest.mark.usefixtures("no_haste")
Run = Callable[..., Outcome]
Start = Callable[..., Command]
MISSING = "/nowhere/at/all"


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """What a command waits to read a line from."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    return path


def ours(fd: int) -> list[str]:
    return ["--pid", str(os.getpid()), "--fd", str(fd)]


def blocked(fd: int, kind: int) -> bool:
    try:
        trylock(fd, kind)
    except BlockingIOError:
        return True
    unlock(fd)
    return False


def states(fd: int, command: Command) -> list[str]:
    return [access.state for access in accesses(fd) if access.pid == command.pid]


@pytest.mark.parametrize("mode", ["--write", "--read"])
def test_locked_while_it_runs(start: Start, buf: int, gate: Path, mode: str) -> None:
    command = start("lock", *ours(buf), mode, "--", "sh", "-c", f"echo runs; read x <{gate}")
    assert command.line() == "runs\n"
    assert (blocked(buf, READ), blocked(buf, WRITE)) == (mode == "--write", True)
    gate.write_text("go\n")
    assert command.outcome() == Outcome(0, "", "")
    assert not blocked(buf, WRITE)


def test_exit_statuses(run: Run, buf: int) -> None:
    assert run("lock", *ours(buf), "true").status == 0
    assert run("lock", *ours(buf), "--", "sh", "-c", "kill -9 $$").status == 128 + signal.SIGKILL
    assert run("lock", *ours(buf), MISSING) == Outcome(
        127, "", f"dmabuf-sync: {MISSING}: command not found\n"
    )
    refused = run("lock", *ours(buf), "/dev/null")
    assert (refused.status, refused.err) == (126, "dmabuf-sync: /dev/null: Permission denied\n")
    assert run("lock", *ours(buf)).status == 2
    assert run("lock", *ours(buf), "-n", "--timeout", "1", "true").status == 2


def test_conflicts(run: Run, buf: int, actors: Callable[[int], list[Actor]]) -> None:
    (holder,) = actors(1)
    holder.call(lock, buf, READ)
    who = f"locked by process {holder.pid} "
    for options, status in (
        (["-n"], 1),
        (["-n", "-E", "33"], 33),
        (["--timeout", "0.2", "-E", "34"], 34),
    ):
        outcome = run("lock", *ours(buf), *options, "echo", "ran")
        assert (outcome.status, outcome.out) == (status, "")
        assert who in outcome.err
    assert run("lock", *ours(buf), "-n", "--read", "echo", "ran") == Outcome(0, "ran\n", "")
    holder.call(unlock, buf)
    holder.call(lock, buf, WRITE, 4096, 4096)
    assert run("lock", *ours(buf), "-n", "--length", "4096", "true").status == 0
    assert run("lock", *ours(buf), "-n", "--offset", "4096", "true").status == 1


def test_ctrl_c_while_it_waits(
    start: Start, buf: int, actors: Callable[[int], list[Actor]]
) -> None:
    (holder,) = actors(1)
    holder.call(lock, buf, WRITE)
    command = start("lock", *ours(buf), "true")
    until(lambda: states(buf, command) == ["waiting"], "waiting")
    command.interrupt()
    assert command.outcome() == Outcome(130, "", "")
    assert [access.pid for access in accesses(buf)] == [holder.pid]


def test_signals_are_the_commands(start: Start, buf: int) -> None:
    command = start("lock", *ours(buf), "--", "sh", "-c", "echo runs; exec sleep 60")
    assert command.line() == "runs\n"
    command.interrupt()
    assert states(buf, command) == ["held"]
    command.terminate()
    assert command.outcome().status == 128 + signal.SIGTERM
    assert not accesses(buf)


def test_revoked(start: Start, buf: int, gate: Path, actors: Callable[[int], list[Actor]]) -> None:
    (other,) = actors(1)
    script = f"echo runs; read x <{gate}"
    command = start("lock", *ours(buf), "--hold", "0.05", "--", "sh", "-c", script)
    assert command.line() == "runs\n"
    other.call(lock, buf, WRITE)
    gate.write_text("go\n")
    outcome = command.outcome()
    assert outcome.status == 5
    assert "the lock was taken away while this ran: sh -c" in outcome.err


def test_bad_targets(run: Run, buf: int) -> None:
    none = run("lock", "--pid", "4194303", "--fd", "3", "true")
    assert (none.status, none.err) == (1, "dmabuf-sync: there is no process 4194303\n")
    closed = run("lock", *ours(9999), "true")
    assert closed.status == 1
    assert f"process {os.getpid()} has no descriptor 9999" in closed.err
    assert f"its dma-bufs: {buf}" in closed.err
    with open(os.devnull) as file:
        wrong = run("lock", *ours(file.fileno()), "true")
        assert wrong.status == 1
        what = f"descriptor {file.fileno()} of process {os.getpid()} is no dma-buf"
        assert what in wrong.err


def test_unprivileged(run: Run, buf: int) -> None:
    denied = run("lock", *ours(buf), "true", user=NOBODY)
    assert denied.status == 4
    assert "does not let this user take its descriptors" in denied.err

    # Another process of the same user is open to it.
    pid = os.fork()
    if pid == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        os.set_inheritable(buf, True)
        os.execlp("sleep", "sleep", "60")
    try:
        until(lambda: os.readlink(f"/proc/{pid}/exe").endswith(("sleep", "coreutils")), "sleep")
        words = ("lock", "--pid", str(pid), "--fd", str(buf), "echo", "ran")
        assert run(*words, user=NOBODY) == Outcome(0, "ran\n", "")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_it_has_a_place_in_the_queue(
    start: Start, buf: int, actors: Callable[[int], list[Actor]]
) -> None:
    holder, after = actors(2)
    holder.call(lock, buf, WRITE)
    command = start("lock", *ours(buf), "--", "echo", "ran")
    until(lambda: states(buf, command) == ["waiting"], "waiting")
    after.start(lock, buf, WRITE)
    until_waiting(after, buf)
    holder.call(unlock, buf)
    assert command.outcome() == Outcome(0, "ran\n", "")
    after.result()
