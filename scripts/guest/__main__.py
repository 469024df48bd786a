# SPDX-License-Identifier: MIT
"""The command line behind the Makefile: ``python3 -m guest TARGET``.

What a target works on comes in the environment, as make passes its variables on: KERNEL, ARCH,
CMD, SHARE, APPEND, CPUS, THREADS, ICOUNT, TIMEOUT, MODULES, MUTANT, PYTEST, SECONDS and SEED. The
Makefile describes them.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from . import build, coverage, host, kernels, lint, mutants, peers, planted, suites, vm
from .architecture import NATIVE, named
from .kernels import Kernel
from .report import SetupError, say
from .vm import Session

BENCH = "python3 tests/bench/pairs.py --output build/bench.json"
DEMO = "python3 -m dmabuf_sync.demo --output build"
TARGETS = (
    "vm",
    "run",
    "test",
    "bench",
    "test-matrix",
    "test-debug",
    "test-planted",
    "test-mutants",
    "test-peers",
    "test-suspend",
    "coverage",
    "fuzz",
    "lint",
    "man",
    "tree",
)
# Seconds until a guest that should have finished is given up.
TIMEOUTS = {"vm": 600, "test-suspend": 600, "coverage": 4 * 3600, "fuzz": 12 * 3600}
TIMEOUT = 3600
# Whose guest has a thread for each of its CPUs. The tests patch the kernel's code all the time, by
# tracepoints and kprobes, and QEMU's TCG does not always survive that with threads (faults.py).
THREADED = ("vm", "run")
# Which can have a guest of another architecture than this machine's.
FOREIGN = ("vm", "run", "tree")


def session(target: str, env: Mapping[str, str]) -> Session:
    """Return the guest that the variables ask for; raises SetupError when one is malformed."""
    share = env.get("SHARE")
    try:
        return Session(
            command=env.get("CMD", ""),
            modules=env["MODULES"].split() if "MODULES" in env else build.MODULES,
            share=Path(os.path.abspath(share)) if share else None,
            append=shlex.split(env.get("APPEND", "")),
            cpus=positive("CPUS", env, 2),
            icount=switch("ICOUNT", env, False),
            threads=switch("THREADS", env, target in THREADED),
            timeout=positive("TIMEOUT", env, TIMEOUTS.get(target, TIMEOUT)),
        )
    except ValueError as error:
        raise SetupError(str(error)) from None


def switch(name: str, env: Mapping[str, str], default: bool) -> bool:
    text = env.get(name)
    return default if not text else text != "0"


def positive(name: str, env: Mapping[str, str], default: int) -> int:
    text = env.get(name) or str(default)
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{name}={text} is not a positive number")
    return int(text)


def run(target: str, env: Mapping[str, str]) -> int:
    """Do what `target` says and return the exit status."""
    arch = named(env.get("ARCH") or NATIVE.name)
    if arch != NATIVE and target not in FOREIGN:
        raise SetupError(f"ARCH={arch.name} goes with {' '.join(FOREIGN)}, not with {target}")
    if target == "lint":
        return lint.everything()
    wanted = session(target, env)
    if target == "vm" and not wanted.command:
        raise SetupError("nothing to run: make vm CMD='...'")
    # All at once: one round of apt-get.
    host.require(host.TREE, host.SANDBOX, host.MACHINE, arch.emulator, venv=True)
    if target == "test-matrix":
        return suites.matrix(env.get("KERNEL", "").split() or kernels.STOCK, wanted)
    if target == "test-debug":
        return suites.every(env.get("KERNEL", "").split() or kernels.DEBUG, wanted)
    if target == "test-planted":
        return planted.every(env.get("KERNEL", "").split() or kernels.DEBUG, wanted)
    if target == "test-peers":
        return peers.every(env.get("KERNEL", "").split() or peers.KERNELS, wanted)
    if target == "coverage":
        return coverage.run(wanted)
    if target == "fuzz":
        try:
            seconds, seed = positive("SECONDS", env, 60), positive("SEED", env, 1)
            calls = positive("CALLS", env, seconds)
        except ValueError as error:
            raise SetupError(str(error)) from None
        limit = f"--calls {calls}" if env.get("CALLS") else f"--seconds {seconds}"
        return suites.fuzz(env.get("KERNEL", "").split() or kernels.DEBUG, wanted, limit, seed)
    kernel: Kernel = kernels.get(env.get("KERNEL") or kernels.DEFAULT, arch)
    if target == "tree":
        return 0
    if target == "man":
        return build.manual(kernel)
    if target == "test":
        return suites.test(kernel, wanted)
    if target == "test-suspend":
        return suites.suspend(kernel, wanted)
    if target == "test-mutants":
        return mutants.every(kernel, wanted, env.get("MUTANT", "").split())
    if target == "vm":
        build.make_status(kernel)
    if target == "bench":
        wanted = session(target, {**env, "CMD": BENCH, "ICOUNT": "1"})
    if target == "run":
        wanted = session(target, {**env, "CMD": DEMO})
    return vm.run(kernel, wanted)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in TARGETS:
        print(f"usage: python3 -m guest {'|'.join(TARGETS)}", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        return run(arguments[0], os.environ)
    except SetupError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:  # nobody reads on: no reason for a traceback
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 128 + signal.SIGPIPE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
