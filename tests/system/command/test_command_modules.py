# SPDX-License-Identifier: MIT
"""dmabuf-sync load and unload, with this kernel's own modules."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from buffers import allocate
from modules import load_all, loaded, unload_framework
from running import NOBODY, Outcome

from dmabuf_sync.modules import NODES, KernelModules, ModuleInUse, ModuleRefused, parameters

ORDER = ["dmabuf_sync", "vdmabuf", "vblit", "vdisplay"]
FOLDER = Path(os.environ["DMABUF_SYNC_MODULES"])
Run = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def _loaded_again() -> Iterator[None]:
    yield
    load_all()


def test_unload_and_load(run: Run) -> None:
    unload_framework()
    gone = run("unload", "--json")
    assert (gone.status, gone.err) == (0, "")
    assert [record["module"] for record in gone.records] == ["vdmabuf"]
    assert not any(loaded(name) for name in ORDER)
    assert run("unload", "--json") == Outcome(0, "", "")

    came = run("load", "--json", "--set", "dmabuf_sync.hold_timeout_ms=4000")
    assert (came.status, came.err) == (0, "")
    assert [record["module"] for record in came.records] == ORDER
    for record in came.records:
        assert record["loaded_now"]
        assert Path(record["node"]).exists()
        assert record["path"] == str(FOLDER / record["module"] / f"{record['module']}.ko")
    assert parameters("dmabuf_sync")["hold_timeout_ms"] == "4000"
    again = run("load", "--set", "dmabuf_sync.hold_timeout_ms=5000")
    assert again.status == 0
    assert again.out.count("was loaded") == len(ORDER)
    assert parameters("dmabuf_sync")["hold_timeout_ms"] == "5000"


def test_dependencies_come_along(run: Run) -> None:
    unload_framework()
    assert [record["module"] for record in run("load", "vblit", "--json").records] == ["vblit"]
    assert loaded("dmabuf_sync")
    assert not loaded("vdisplay")


def test_in_use(run: Run, buf: int) -> None:
    busy = run("unload", "dmabuf_sync")
    assert busy.status == 1
    assert "unload dmabuf_sync: it is in use" in busy.err
    busy = run("unload", "vdmabuf")
    assert busy.status == 1
    assert "unload vdmabuf: it is in use" in busy.err
    assert f"{os.getpid()} (" in busy.err, "it does not say who has a buffer"
    assert loaded("vdmabuf")


def test_unload_waits(run: Run) -> None:
    fd = allocate("vdmabuf", 4096)
    holder = os.fork()
    if holder == 0:
        os.execlp("sleep", "sleep", "3")
    os.close(fd)
    try:
        assert run("unload", "vdmabuf", "--wait", "30").status == 0
    finally:
        os.waitpid(holder, 0)


def test_unprivileged(run: Run) -> None:
    unload_framework()
    denied = run("load", user=NOBODY)
    assert denied.status == 4
    assert "only root may load modules" in denied.err
    assert "sudo dmabuf-sync load" in denied.err
    denied = run("unload", user=NOBODY)
    assert denied.status == 4
    assert "only root may unload" in denied.err


def test_refusals(run: Run, tmp_path: Path) -> None:
    library = KernelModules(tmp_path)
    assert run("load", "nix").status == 3
    with pytest.raises(FileNotFoundError, match="no kernel module nix in"):
        library.load("nix")

    unload_framework()
    assert run("unload", "vdmabuf").status == 0
    good = (FOLDER / "vdmabuf" / "vdmabuf.ko").read_bytes()
    file = tmp_path / "vdmabuf.ko"
    # Of the release, a kernel that has versions of symbols does not mind.
    file.write_bytes(good.replace(b" mod_unload ", b" mod_unlost "))
    with pytest.raises(ModuleRefused, match=r"for '.* mod_unlost.*', this is '.* mod_unload"):
        library.load("vdmabuf")
    file.write_bytes(good.replace(b"dma_buf_export\0", b"dma_buf_absent\0"))
    with pytest.raises(ModuleRefused, match=r"lacks dma_buf_absent|dma_buf_absent differs"):
        KernelModules(tmp_path).load("vdmabuf")
    file.write_bytes(b"no module")
    with pytest.raises(OSError, match="not a kernel module"):
        KernelModules(tmp_path).load("vdmabuf")
    wrong = run("load", "vdmabuf", "--set", "vdmabuf.max_size_mb=-1")
    assert wrong.status == 1
    assert "'-1' is no value for its parameter max_size_mb" in wrong.err
    assert not loaded("vdmabuf")
    assert run("load", "--set", "x=1").status == 2


def test_from_python(buf: int) -> None:
    library = KernelModules(FOLDER)
    assert set(ORDER) == set(NODES)
    info = library.info("vblit")
    assert info.version_magic.split()[0] == os.uname().release
    assert "dmabuf_sync" in info.depends
    assert "engines" in info.parameters
    assert set(library.holders("dmabuf_sync")) == {"vblit", "vdisplay"}
    assert library.references("vdmabuf") >= 1
    with pytest.raises(ModuleInUse) as caught:
        library.unload("dmabuf_sync")
    assert set(caught.value.holders) == {"vblit", "vdisplay"}
    assert library.load("vblit") == []
