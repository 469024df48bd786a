# SPDX-License-Identifier: MIT
"""The one thing pyproject.toml has no word for: the extensions are made by cffi."""

from setuptools import setup

BUILD = "python/dmabuf_sync/_build.py"

setup(cffi_modules=[f"{BUILD}:uapi", f"{BUILD}:kmod"])
