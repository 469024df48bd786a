# SPDX-License-Identifier: MIT
"""The test guest: trees, kernels, modules and virtual machines, driven by the Makefile.

Needs nothing but the Python standard library; what else is missing it installs itself.
"""
