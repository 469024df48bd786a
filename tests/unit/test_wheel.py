# SPDX-License-Identifier: MIT
"""The distribution: pip and build make wheels of it that work, without this checkout or a network.

Runs where the requirements are installed already; nothing is fetched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What git has of the top, as far as it concerns Python.
PARTS = ("LICENSE", "LICENSES", "MANIFEST.in", "README.md", "examples", "kernel", "packaging")
PARTS += ("pyproject.toml", "python", "setup.py")
EXTENSIONS = {"dmabuf_sync/_kmod.abi3.so", "dmabuf_sync/_uapi.abi3.so"}

pytestmark = pytest.mark.timeout(180)  # the extensions are compiled


def checkout(folder: Path) -> Path:
    """A copy of the sources, in which a build may leave what it wants."""
    folder.mkdir()
    built = shutil.ignore_patterns("*.so", "*.o", "*.ko", "*.mod*", ".*", "__pycache__", "*.cmd")
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=built)
        else:
            shutil.copy(source, folder)
    return folder


def run(*words: str | Path, cwd: Path, path: str = "") -> str:
    """Run Python; its output. `path` is searched before what the tests have."""
    inherited = [part for part in os.environ.get("PYTHONPATH", "").split(":") if part]
    site = [part for part in inherited if part not in ("python", "scripts")]
    env = {**os.environ, "PYTHONPATH": ":".join([*filter(None, [path]), *site])}
    env |= {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "HOME": str(cwd)}
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `python -m build` makes: a source distribution, and a wheel from that."""
    source = checkout(tmp_path_factory.mktemp("build") / "source")
    run("-m", "build", "--no-isolation", cwd=source)
    return source / "dist"


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*.whl")
    return found


def test_the_source_distribution_has_what_a_build_takes(dist: Path) -> None:
    (archive,) = dist.glob("*.tar.gz")
    with tarfile.open(archive) as members:
        names = {name.partition("/")[2] for name in members.getnames()}
    headers = {str(path.relative_to(ROOT)) for path in ROOT.glob("kernel/include/uapi/**/*.h")}
    assert len(headers) >= 4
    assert names >= headers | {"setup.py", "python/dmabuf_sync/_source.c", "LICENSE"}
    assert "packaging/udev/70-dmabuf-sync.rules" in names
    assert "examples/plain_fcntl.py" in names


def test_the_wheel_has_the_package_and_nothing_else(wheel: Path) -> None:
    assert wheel.name.startswith("dmabuf_sync-") and "-cp311-abi3-linux_" in wheel.name
    names = set(zipfile.ZipFile(wheel).namelist())
    package = ROOT / "python"
    modules = {str(path.relative_to(package)) for path in package.rglob("*.py")}
    typing = {"dmabuf_sync/py.typed", "dmabuf_sync/_uapi.pyi", "dmabuf_sync/_kmod.pyi"}
    inside = {name for name in names if ".dist-info/" not in name}
    assert inside == modules | typing | EXTENSIONS


def test_the_extension_is_compiled_from_the_uapi_header(tmp_path: Path) -> None:
    """A number that only the header has comes out in the library."""
    source = checkout(tmp_path / "source")
    header = source / "kernel/include/uapi/linux/dmabuf_sync.h"
    text = header.read_text()
    old = next(line for line in text.splitlines() if "#define DMABUF_SYNC_NAME_LEN" in line)
    header.write_text(text.replace(old, "#define DMABUF_SYNC_NAME_LEN 48"))
    target = tmp_path / "target"
    pip = ("-m", "pip", "install", "--no-build-isolation", "--no-deps", "--quiet")
    run(*pip, "--target", target, ".", cwd=source)
    code = "from dmabuf_sync._uapi import ffi, lib; print(lib.DMABUF_SYNC_NAME_LEN)"
    assert run("-c", code, cwd=tmp_path, path=str(target)) == "48\n"


def test_what_was_installed_works(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    run("-m", "pip", "install", "--no-deps", "--quiet", "--target", target, wheel, cwd=tmp_path)
    program = target / "bin" / "dmabuf-sync"
    code = "import dmabuf_sync as d; print(d.__file__); [getattr(d, name) for name in d.__all__]"
    assert run("-c", code, cwd=tmp_path, path=str(target)).startswith(str(target))
    assert "Exit status:" in run(program, "--help", cwd=tmp_path, path=str(target))
    version = wheel.name.split("-")[1]
    said = run(program, "--version", cwd=tmp_path, path=str(target))
    assert said == f"dmabuf-sync {version}\n"
    run(program, "manual", tmp_path / "man", cwd=tmp_path, path=str(target))
    assert len(list((tmp_path / "man/man1").iterdir())) > 10
