# SPDX-License-Identifier: MIT
"""Users that are not root, with and without the udev rule."""

from __future__ import annotations

import errno
import fnmatch
import glob
import grp
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from actors import Actor

from dmabuf_sync import (
    Access,
    Blitter,
    Display,
    DmaBuf,
    Exporter,
    Sync,
    close_control,
)

RULES = Path(__file__).parents[3] / "packaging" / "udev" / "70-dmabuf-sync.rules"
NODES = ("dmabuf_sync", "vdmabuf", "vblit", "vdisplay")
SIZE = 65536
USER = 1000
VIDEO = grp.getgrnam("video").gr_gid


def apply(rules: Path) -> list[str]:
    """Do to the device nodes what udev does; the guest has none. Returns the nodes' names."""
    done = []
    for line in rules.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        terms = re.findall(r'(\w+)(==|=)"([^"]*)"', line)
        assert ", ".join(f'{key}{op}"{value}"' for key, op, value in terms) == line
        match = {key: value for key, op, value in terms if op == "=="}
        assign = {key: value for key, op, value in terms if op == "="}
        assert set(match) == {"SUBSYSTEM", "KERNEL"} and set(assign) == {"GROUP", "MODE"}
        for path in glob.glob(f"/sys/class/{match['SUBSYSTEM']}/*"):
            name = os.path.basename(path)
            if any(fnmatch.fnmatchcase(name, word) for word in match["KERNEL"].split("|")):
                os.chown(f"/dev/{name}", 0, grp.getgrnam(assign["GROUP"]).gr_gid)
                os.chmod(f"/dev/{name}", int(assign["MODE"], 8))
                done.append(name)
    return done


@pytest.fixture
def rule() -> Iterator[None]:
    before = {name: os.stat(f"/dev/{name}") for name in NODES}
    assert set(NODES) <= set(apply(RULES))
    yield
    for name, node in before.items():
        os.chown(f"/dev/{name}", node.st_uid, node.st_gid)
        os.chmod(f"/dev/{name}", node.st_mode & 0o777)


@pytest.fixture
def become() -> Iterator[Callable[[int], Actor]]:
    """become(group): a process of a plain user who is in this group, too."""
    made: list[Actor] = []
    close_control()  # else the process would inherit it

    def start(group: int) -> Actor:
        actor = Actor()
        made.append(actor)
        actor.call(drop_root, group)
        return actor

    yield start
    for actor in made:
        actor.kill()


def drop_root(group: int) -> None:
    os.setgroups([group])
    os.setgid(USER)
    os.setuid(USER)


def everything() -> str:
    """In the actor: exporter, locks of each kind, engine and display."""
    with (
        Exporter() as exporter,
        Blitter() as blitter,
        Display() as display,
        Sync("user") as sync,
        exporter.allocate(SIZE) as src,
        exporter.allocate(SIZE) as dst,
    ):
        with src.mapped(Access.WRITE, timeout=10) as m:
            m[:4] = b"user"
        with blitter.copy(src, dst) as job:
            job.wait(20)
        sync.add(src, Access.WRITE)
        sync.add(dst, Access.READ)
        with sync.locked(timeout=10), dst.map(Access.READ) as m:
            found = bytes(m[:4]).decode()
        display.flip(dst)
    close_control()
    return found


def refusals() -> dict[str, tuple[int | None, str]]:
    """In the actor: what each kind of object says to somebody who may not."""
    said = {}
    for make in (Exporter, Blitter, Display, Sync):
        try:
            make().close()
        except OSError as error:
            said[make.__name__] = error.errno, error.__notes__[0]
    return said


def plain_lock(fd: int) -> str:
    """In the actor: what needs no device, on a buffer that came from elsewhere."""
    with DmaBuf(os.dup(fd)) as buffer:
        with buffer.mapped(Access.WRITE) as m:
            m[:5] = b"plain"
        return buffer.name


def test_member_of_the_group(rule: None, become: Callable[[int], Actor]) -> None:
    assert become(VIDEO).call(everything) == "user"


def test_others(rule: None, become: Callable[[int], Actor]) -> None:
    said = become(USER).call(refusals)
    assert set(said) == {"Exporter", "Blitter", "Display", "Sync"}
    for number, note in said.values():
        assert number == errno.EACCES
        assert "is for members of group video: usermod -aG video USER" in note


def test_nobody_without_the_rule(become: Callable[[int], Actor]) -> None:
    said = become(VIDEO).call(refusals)
    assert set(said) == {"Exporter", "Blitter", "Display", "Sync"}
    for number, note in said.values():
        assert number == errno.EACCES
        assert note.startswith("only root may open /dev/")
        assert "dmabuf-sync doctor" in note


def test_fcntl_needs_no_device(become: Callable[[int], Actor]) -> None:
    with Exporter() as exporter, exporter.allocate(SIZE, "shared") as buffer:
        assert become(USER).call(plain_lock, buffer.fileno()) == "shared"
        with buffer.mapped(Access.READ) as m:
            assert bytes(m[:5]) == b"plain"
