# SPDX-License-Identifier: MIT
"""Builds the extension ``dmabuf_sync._uapi`` from the kernel's UAPI headers.

``pip install .`` comes here through setuptools (``cffi_modules`` in setup.py). Run as a script, it
needs cffi, a C compiler and Python's headers, but neither setuptools nor an installed package::

    python3 python/dmabuf_sync/_build.py [--include DIR] [--output DIR]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cffi import FFI

MODULE = "dmabuf_sync._uapi"
HERE = Path(__file__).resolve().parent
UAPI_INCLUDE = HERE.parents[1] / "kernel" / "include" / "uapi"
# struct flock with 64-bit offsets on 32-bit machines too.
MACROS = [("_FILE_OFFSET_BITS", "64"), ("_GNU_SOURCE", None)]


def make_ffi(include: Path = UAPI_INCLUDE) -> FFI:
    """Describe the extension; `include` is the folder with linux/dmabuf_sync.h in it."""
    ffi = FFI()
    ffi.cdef((HERE / "_decl.h").read_text(encoding="utf-8"))
    ffi.set_source(
        MODULE,
        (HERE / "_source.c").read_text(encoding="utf-8"),
        include_dirs=[str(include)],
        define_macros=MACROS,
    )
    return ffi


def build(include: Path, output: Path) -> Path:
    """Compile the extension into the folder `output` and return its path.

    The name carries the Python version and the machine, so that several may lie in one folder.
    It appears there complete or not at all.
    """
    library = output / f"_uapi{sysconfig.get_config_var('EXT_SUFFIX')}"
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "_uapi.c"
        with contextlib.redirect_stdout(None):  # cffi reports each file it writes
            make_ffi(include).emit_c_code(str(source))
        made = output / f".{library.name}.{os.getpid()}"
        compiler = shlex.split(os.environ.get("CC", "cc"))
        command = [*compiler, "-shared", "-fPIC", "-O2", "-g", "-Wall"]
        command += [f"-D{name}={value}" if value else f"-D{name}" for name, value in MACROS]
        command += [f"-I{include}", f"-I{sysconfig.get_path('include')}"]
        command += [f"-I{sysconfig.get_path('platinclude')}", str(source), "-o", str(made)]
        for variable in ("CFLAGS", "LDFLAGS"):
            command += shlex.split(os.environ.get(variable, ""))
        try:
            subprocess.run(command, check=True)
            made.replace(library)
        finally:
            made.unlink(missing_ok=True)
    return library


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build the extension dmabuf_sync._uapi.")
    parser.add_argument(
        "--include", type=Path, default=UAPI_INCLUDE, help="folder with linux/dmabuf_sync.h"
    )
    parser.add_argument(
        "--output", type=Path, default=HERE, help="folder to put it in (default: beside this file)"
    )
    options = parser.parse_args(arguments)
    if not (options.include / "linux" / "dmabuf_sync.h").is_file():
        parser.error(f"no linux/dmabuf_sync.h in {options.include}")
    try:
        print(build(options.include, options.output))
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
elif __name__ == "__cffi__":  # setuptools: cffi_modules
    ffibuilder = make_ffi()
