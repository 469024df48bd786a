# SPDX-License-Identifier: MIT
"""Users that are not root, with and without the udev rule."""

from __future__ import annotations

import errno
import grp
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from actors import Actor
from modules import load_all
from udev import Udev

from dmabuf_sync import (
    Access,
    Blitter,
    Display,
    DmaBuf,
    Exporter,
    Sync,
    close_control,
)
from dmabuf_sync.command.main import main

RULES = Path(__file__).parents[3] / "packaging" / "udev" / "70-dmabuf-sync.rules"
EDU = ["vblit-edu"] if os.path.exists("/dev/vblit-edu") else []
NODES = ("dmabuf_sync", "vdmabuf", "vblit", "vdisplay", *EDU)
SIZE = 65536
USER = 1000
VIDEO = grp.getgrnam("video").gr_gid


@pytest.fixture(scope="module")
def udev() -> Iterator[Udev]:
    """udevd with our rules, until the end of these tests; the nodes are as before then."""
    before = {name: os.stat(f"/dev/{name}") for name in NODES}
    with Udev() as daemon:
        yield daemon
    for name, node in before.items():
        os.chown(f"/dev/{name}", node.st_uid, node.st_gid)
        os.chmod(f"/dev/{name}", node.st_mode & 0o777)


@pytest.fixture
def rule(udev: Udev) -> Iterator[None]:
    """The rule is installed, as its first lines say."""
    for name in NODES:
        assert mode(name)[0] == 0
    udev.install(RULES)
    for name in NODES:
        assert mode(name) == (VIDEO, 0o660)
    yield
    udev.remove(RULES)
    for name in NODES:  # udev leaves alone what no rule names
        os.chown(f"/dev/{name}", 0, 0)


def mode(name: str) -> tuple[int, int]:
    node = os.stat(f"/dev/{name}")
    return node.st_gid, node.st_mode & 0o777


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


def test_udev_finds_no_fault_with_the_rule(udev: Udev) -> None:
    text = udev.admin("verify", "--no-summary", RULES) if udev.verifies else ""
    assert text == ""


@pytest.mark.slow
def test_the_lines_for_other_exporters_are_rules_too(udev: Udev, tmp_path: Path) -> None:
    """Those that are commented out, for users to take into use."""
    lines = [line[1:] for line in RULES.read_text().splitlines() if line.startswith("#SUBSYSTEM")]
    assert len(lines) == 2
    more = tmp_path / "71-more.rules"
    more.write_text("\n".join(lines) + "\n")
    if udev.verifies:
        assert udev.admin("verify", "--no-summary", more) == ""
    for name in ("udmabuf", "dma_heap/system"):
        if os.path.exists(f"/dev/{name}"):
            before = os.stat(f"/dev/{name}")
            udev.install(more)
            try:
                assert mode(name) == (VIDEO, 0o660)
            finally:
                udev.remove(more)
                os.chown(f"/dev/{name}", before.st_uid, before.st_gid)
                os.chmod(f"/dev/{name}", before.st_mode & 0o777)


def test_load_returns_when_udev_has_been_there(rule: None) -> None:
    """Not when the kernel has made the node, which is root's at first."""
    try:
        assert main(["unload", "vdmabuf"]) == 0
        assert main(["load", "vdmabuf"]) == 0
        assert mode("vdmabuf") == (VIDEO, 0o660)
    finally:
        load_all()


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
