# SPDX-License-Identifier: MIT
"""The tests of others: do they give the same results with the modules loaded as without?

These are the kernel's own tests of dma-buf, udmabuf, dma-heaps, sync_file and file locks, built
from the distribution's kernel source, and stress-ng's stressors of locks. What a kernel lacks they
skip both times; SW_SYNC and the dma-buf self-test module are in the lockdep kernel.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from difflib import unified_diff
from pathlib import Path

from . import build, debug_kernel, kernels, vm
from .kernels import Kernel
from .report import SetupError, say
from .sandbox import Sandbox
from .vm import Session

KERNELS = (kernels.DEFAULT, "lockdep")
FOLDERS = ("drivers/dma-buf", "dmabuf-heaps", "sync", "filelock")
"""Below tools/testing/selftests."""
TIMEOUT = 3000
# One test of dma-buf waits, not to be interrupted, until another thread has signalled thousands of
# fences: on a kernel with lockdep that may take longer than a task is allowed to hang.
PATIENT = ("sysctl.kernel.hung_task_timeout_secs=600",)


def every(names: Sequence[str], base: Session) -> int:
    """Compare on several kernels; return the worst status."""
    return max(compare(kernels.get(name), base) for name in names)


def compare(kernel: Kernel, base: Session) -> int:
    """Run all tests without the modules and with them; 1 when the results differ."""
    folder = build.workspace(kernel) / "peers"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    programs(kernel, folder)
    results = []
    for name, modules in (("without", ()), ("with", base.modules)):
        say(f"tests of others on {kernel.release}, {name} the modules")
        file = folder / name
        session = replace(
            base,
            command=f"sh scripts/guest/peers.sh {folder} {file}",
            modules=modules,
            append=[*base.append, *PATIENT],
            log=f"console-peers-{name}",
            timeout=TIMEOUT,
        )
        status = vm.run(kernel, session)
        if status:
            return status
        results.append(file.read_text().splitlines())
    without, loaded = results
    print("\n".join(loaded))
    for line in absent(loaded):
        say(f"tests of others on {kernel.release}: NOT to be run: {line}")
    difference = list(unified_diff(without, loaded, "without", "with", lineterm=""))
    print("\n".join(difference), end="\n" if difference else "")
    say(f"tests of others on {kernel.release}: {'NOT ' if difference else ''}the same results")
    return 1 if difference or absent(loaded) else 0


def absent(results: Sequence[str]) -> list[str]:
    """Return the programs that did not even start: these fail with and without the modules."""
    return [line for line in results if line.endswith((": status 126", ": status 127"))]


def programs(kernel: Kernel, folder: Path) -> None:
    """Build the kernel's own tests into `folder`; raises SetupError when that fails."""
    top = f"{debug_kernel.SOURCE_INSIDE}/tools/testing/selftests"
    # Behind those of the tree, which lacks the headers of drm.
    headers = f"-idirafter {debug_kernel.SOURCE_INSIDE}/include/uapi"
    mounts = {**kernel.mounts, debug_kernel.source(): debug_kernel.SOURCE_INSIDE}
    sandbox = Sandbox(kernel.base, writable=[folder], mounts=mounts)
    for name in FOLDERS:
        words = ["make", "-s", "-C", f"{top}/{name}", f"OUTPUT={folder}"]
        if sandbox.run([*words, f"KHDR_INCLUDES={headers}", "all"]):
            raise SetupError(f"the kernel's own tests of {name} do not build")
