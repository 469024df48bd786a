# SPDX-License-Identifier: MIT
"""Rebuilding only what changed, running in a tree, and reading a console log for faults."""

import os
import re
from pathlib import Path

import pytest
from guest import build, faults, paths, report, sandbox, suites
from guest.report import SetupError
from guest.tree import Tree


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "kernel/one").mkdir(parents=True)
    (folder / "Kbuild").write_text("obj-m := kernel/one/\n")
    (folder / "kernel/one/one.c").write_text("int one;\n")
    (folder / "kernel/one/two.c").write_text("int two;\n")
    return folder


def aged(path: Path) -> None:
    os.utime(path, (1, 1))


def test_a_mirror_touches_only_what_changed(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "target"
    build.mirror(source, target, build.SOURCES)
    for name in ("kernel/one/one.c", "kernel/one/two.c"):
        aged(target / name)
    (source / "kernel/one/one.c").write_text("int changed;\n")
    build.mirror(source, target, build.SOURCES)
    assert (target / "kernel/one/one.c").read_text() == "int changed;\n"
    assert (target / "kernel/one/one.c").stat().st_mtime > 1
    assert (target / "kernel/one/two.c").stat().st_mtime == 1


def test_a_mirror_drops_what_is_gone_and_keeps_products(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "target"
    build.mirror(source, target, build.SOURCES)
    (target / "kernel/one/one.o").touch()
    (source / "kernel/one/two.c").unlink()
    build.mirror(source, target, build.SOURCES)
    assert not (target / "kernel/one/two.c").exists()
    assert (target / "kernel/one/one.o").exists()


def test_products_of_a_build_in_place_are_no_sources(source: Path) -> None:
    for name in ("one.o", "one.ko", "one.mod.c", ".one.o.cmd", "Module.symvers"):
        (source / "kernel/one" / name).touch()
    found = [path.name for path in build.sources(source / "kernel")]
    assert found == ["one.c", "two.c"]


def test_a_build_is_done_again_only_for_another_key(tmp_path: Path) -> None:
    made = tmp_path / "made"
    calls = []

    def make() -> None:
        calls.append(1)
        made.touch()

    for key in ("a", "a", "b"):
        build.when_changed(tmp_path / "stamp", key, make, [made])
    assert len(calls) == 2
    made.unlink()
    build.when_changed(tmp_path / "stamp", "b", make, [made])
    assert len(calls) == 3


def test_a_failed_build_is_tried_again(tmp_path: Path) -> None:
    stamp = tmp_path / "stamp"

    def fail() -> None:
        raise SetupError("no")

    build.when_changed(stamp, "a", lambda: None, [])
    for _ in range(2):
        with pytest.raises(SetupError):
            build.when_changed(stamp, "b", fail, [])
    with pytest.raises(SetupError):
        build.when_changed(stamp, "a", fail, [])


def test_what_a_killed_build_left_is_not_built_upon(tmp_path: Path) -> None:
    """One that failed has left nothing half made, nor has one that was whole."""
    half = tmp_path / "half.o"
    with build.unbroken(tmp_path):
        half.touch()
    with pytest.raises(SetupError), build.unbroken(tmp_path):
        assert half.exists()
        raise SetupError("it does not compile")
    with pytest.raises(KeyboardInterrupt), build.unbroken(tmp_path):
        assert half.exists()
        raise KeyboardInterrupt
    with build.unbroken(tmp_path):
        assert not half.exists()


def test_the_sandbox_shows_the_project_read_only(tmp_path: Path) -> None:
    writable = tmp_path / "w"
    box = sandbox.Sandbox(
        Tree(tmp_path), writable=[writable], mounts={tmp_path: "/kernel"}, env={"A": "b"}
    )
    line = box.command(["true"])
    assert line[-1] == "true"
    text = " ".join(line)
    assert f"--ro-bind {paths.ROOT} {paths.ROOT}" in text
    assert f"--bind {writable} {writable}" in text
    assert f"--bind {tmp_path} /kernel" in text
    assert "--setenv A b" in text
    assert "--clearenv" in line


LOG = f"""\
[    1.0] WARNING: CPU: 0 PID: 1 at drivers/early.c:1 early+0x0/0x1
[    9.0] {faults.STARTED}
[    9.5] dmabuf_sync: ready
[   10.0] WARNING: CPU: 1 PID: 7 at kernel/x.c:3 bad+0x0/0x1
[   11.0] BUG: KASAN: slab-use-after-free in f
[   12.0] INFO: possible circular locking dependency
[   13.0] FAULT_INJECTION: forcing a failure.
"""


def test_a_provoked_warning_is_no_fault() -> None:
    due = "[    1.0] WARNING: CPU: 0 PID: 1 at kernel/dmabuf_sync/job.c:1 f+0x0/0x1 [dmabuf_sync]"
    newer = "[    1.0] WARNING: kernel/dmabuf_sync/job.c:1 at f+0x0/0x1 [dmabuf_sync], CPU#1: p/1"
    other = "[    1.0] WARNING: possible circular locking dependency detected"
    log = [faults.STARTED, "guest: a warning is due", due, newer, other, "guest: no warning is due"]
    assert faults.find("\n".join(log)) == [other]
    assert faults.find("\n".join([*log, due])) == [other, due]


def test_faults_of_the_emulator() -> None:
    for oops in ("Oops: int3: 0000 [#1] PREEMPT SMP NOPTI", "int3: 0000 [#1] PREEMPT SMP NOPTI"):
        log = f"[ 9.0] {faults.STARTED}\n[ 10.0] {oops}\n"
        assert faults.emulator(log)
        assert faults.find(log)
        assert not faults.emulator(log.replace("[ 10.0]", "[ 10.0] BUG: something\n[ 10.0]"))
    assert not faults.emulator(LOG)


def test_faults_are_those_after_the_start() -> None:
    assert [line.split("]")[0] for line in faults.find(LOG)] == [
        "[   10.0",
        "[   11.0",
        "[   12.0",
    ]
    assert faults.find("no guest ever started\nBUG: nothing\n") == []


@pytest.mark.parametrize(
    ("statuses", "selected", "worst"),
    [
        ([0, 0], False, 0),
        ([0, 5], False, 5),
        ([1, 255, 0], False, 255),
        ([0, 5], True, 0),
        ([1, 5], True, 1),
        ([5, 5], True, 5),
    ],
)
def test_the_worst_status_wins(statuses: list[int], selected: bool, worst: int) -> None:
    assert suites.worst(statuses, selected=selected) == worst


def test_tail_takes_the_end_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"\0one\r\ntwo\xff\nthree\n")
    assert report.tail(log, 2) == ["two\ufffd\n", "three\n"]
    assert report.tail(tmp_path / "none", 2) == []


def test_dkms_builds_what_make_builds() -> None:
    dkms = (paths.ROOT / "dkms.conf").read_text()
    version = re.search(r'^version = "(.*)"$', (paths.ROOT / "pyproject.toml").read_text(), re.M)
    assert version
    assert f'PACKAGE_VERSION="{version[1]}"' in dkms
    assert tuple(re.findall(r'BUILT_MODULE_NAME\[\d\]="(.*)"', dkms)) == build.MODULES
    places = re.findall(r'BUILT_MODULE_LOCATION\[\d\]="(.*)"', dkms)
    assert places == [f"kernel/{name}" for name in build.MODULES]
