# SPDX-License-Identifier: MIT
"""Every allocation of a module's own beginning fails once: it is loaded, or not there at all."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from injector import Injector
from modules import finit_module, insmod, load_all, loaded, path, unload, unload_framework

NEEDS = {
    "dmabuf_sync": (),
    "vdmabuf": ("dmabuf_sync",),
    "vblit": ("dmabuf_sync",),
    "vdisplay": ("dmabuf_sync",),
}
PLENTY = 1_000_000
OWN = 50
"""Allocations from the end of a load that are tried: the kernel reads the file before them."""
# Of its loader, and of a driver whose device is not there.
ERRORS = (errno.ENOMEM, errno.EINVAL, errno.ENODEV)
EDU = Path("/sys/bus/pci/drivers/vblit-edu")


@pytest.fixture
def nothing_loaded() -> Iterator[None]:
    # It has an interrupt: the kernel warns when it cannot tell of it in /proc.
    overrides = [device.resolve() / "driver_override" for device in EDU.glob("0000:*")]
    unload_framework()
    unload("vdmabuf")
    for override in overrides:
        override.write_text("none")
    yield
    for override in overrides:
        override.write_text("\n")
    load_all()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", NEEDS)
def test_load(inject: Injector, nothing_loaded: None, tmp_path: Path, name: str) -> None:
    for other in NEEDS[name]:
        insmod(other)
    # 9p, where the modules are, does not survive failing allocations.
    with open(shutil.copy(path(name), tmp_path), "rb") as file:
        inject.arm(PLENTY)
        error = finit_module(file.fileno())
        count = PLENTY - inject.left()
        inject.disarm()
        assert not error
        failures = 0
        for nth in range(max(1, count - OWN), count + 1):
            unload(name)
            inject.arm(nth)
            error = finit_module(file.fileno())
            failed = inject.disarm()
            if error:
                assert failed and error in ERRORS, errno.errorcode[error]
                assert not loaded(name)
                failures += 1
        assert failures
