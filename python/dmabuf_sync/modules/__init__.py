# SPDX-License-Identifier: MIT
"""The kernel modules, from Python: load, unload, parameters, dependencies, device nodes.

Needs libkmod (the extension ``_kmod``) and, to wait for nodes, pyudev. Loading and unloading needs
root.
"""

from .kernel_modules import KernelModules, ModuleInfo, ModuleInUse, parameters, set_parameter
from .nodes import NODES, NodeWatch
from .refusal import ModuleRefused

MODULES = ("dmabuf_sync", "vdmabuf", "vblit", "vdisplay")
"""In the order of loading."""

__all__ = [
    "MODULES",
    "NODES",
    "KernelModules",
    "ModuleInUse",
    "ModuleInfo",
    "ModuleRefused",
    "NodeWatch",
    "parameters",
    "set_parameter",
]
