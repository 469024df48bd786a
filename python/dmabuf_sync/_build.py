# SPDX-License-Identifier: MIT
"""Builds the extensions: ``_uapi`` from the kernel's UAPI headers, and ``_kmod`` of libkmod.

``pip install .`` comes here through setuptools (``cffi_modules`` in setup.py); there the package
does without ``_kmod`` if libkmod's header is not installed. Run as a script, it needs cffi, a C
compiler, Python's headers and libkmod's, but neither setuptools nor an installed package::

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

HERE = Path(__file__).resolve().parent
UAPI_INCLUDE = HERE.parents[1] / "kernel" / "include" / "uapi"
# struct flock with 64-bit offsets on 32-bit machines too.
MACROS = [("_FILE_OFFSET_BITS", "64"), ("_GNU_SOURCE", None)]


def make_uapi(include: Path = UAPI_INCLUDE) -> FFI:
    """Describe ``_uapi``; `include` is the folder with linux/dmabuf_sync.h in it."""
    ffi = FFI()
    ffi.cdef((HERE / "_decl.h").read_text(encoding="utf-8"))
    ffi.set_source(
        "dmabuf_sync._uapi",
        (HERE / "_source.c").read_text(encoding="utf-8"),
        include_dirs=[str(include)],
        define_macros=MACROS,
    )
    return ffi


def make_kmod() -> FFI:
    """Describe ``_kmod``."""
    ffi = FFI()
    ffi.cdef((HERE / "_kmod_decl.h").read_text(encoding="utf-8"))
    ffi.set_source(
        "dmabuf_sync._kmod", "#include <libkmod.h>", libraries=["kmod"], optional=True
    )
    return ffi


def build(ffi: FFI, name: str, output: Path, options: Sequence[str] = ()) -> Path:
    """Compile the extension `name` into the folder `output` and return its path.

    The name carries the Python version and the machine, so that several may lie in one folder.
    It appears there complete or not at all. `options` are the C compiler's.
    """
    library = output / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / f"{name}.c"
        with contextlib.redirect_stdout(None):  # cffi reports each file it writes
            ffi.emit_c_code(str(source))
        made = output / f".{library.name}.{os.getpid()}"
        compiler = shlex.split(os.environ.get("CC", "cc"))
        command = [*compiler, "-shared", "-fPIC", "-O2", "-g", "-Wall"]
        command += [f"-D{key}={value}" if value else f"-D{key}" for key, value in MACROS]
        command += [f"-I{sysconfig.get_path('include')}"]
        command += [f"-I{sysconfig.get_path('platinclude')}", str(source), "-o", str(made)]
        command += options
        for variable in ("CFLAGS", "LDFLAGS"):
            command += shlex.split(os.environ.get(variable, ""))
        try:
            subprocess.run(command, check=True)
            made.replace(library)
        finally:
            made.unlink(missing_ok=True)
    return library


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build the extensions of dmabuf_sync.")
    parser.add_argument(
        "--include", type=Path, default=UAPI_INCLUDE, help="folder with linux/dmabuf_sync.h"
    )
    parser.add_argument(
        "--output", type=Path, default=HERE, help="folder for them (default: beside this file)"
    )
    options = parser.parse_args(arguments)
    if not (options.include / "linux" / "dmabuf_sync.h").is_file():
        parser.error(f"no linux/dmabuf_sync.h in {options.include}")
    try:
        print(
            build(make_uapi(options.include), "_uapi", options.output, [f"-I{options.include}"])
        )
        print(build(make_kmod(), "_kmod", options.output, ["-lkmod"]))
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
elif __name__ == "__cffi__":  # setuptools: cffi_modules
    uapi = make_uapi()
    kmod = make_kmod()
