# SPDX-License-Identifier: MIT
"""The one thing pyproject.toml has no word for: the extension is made by cffi."""

from setuptools import setup

setup(cffi_modules=["python/dmabuf_sync/_build.py:ffibuilder"])
