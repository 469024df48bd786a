# SPDX-License-Identifier: MIT
"""What compilers and analysers say about the kernel part: gcc, clang, sparse and Coccinelle.

They come from a tree of their own, so that this machine needs none of them. gcc and sparse work
with the headers of the stock kernels; clang needs a kernel configured for it, which is prepared but
not built.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import build, debug_kernel, kernels, paths, tree
from .debug_kernel import BUILD_INSIDE, SOURCE_INSIDE
from .report import SetupError, say, step
from .sandbox import Sandbox
from .tree import Recipe, Tree

TOOLS = Recipe(
    "lint",
    "trixie",
    (
        *debug_kernel.COMPILING,
        "clang",
        "coccinelle",
        "linux-headers-amd64",
        "lld",
        "llvm",
        # Coccinelle's scripts are Python in part.
        "python3-dev",
        "sparse",
    ),
    image=False,
)
CONFIGS = ("base", "lockdep")
ARCHITECTURES = ("x86_64",)
# What is behind the compiler's own command in the file that make keeps of it.
COMMAND = re.compile(r"^savedcmd_\S+ := (?P<compile>clang .*?)(?: ;|$)", re.MULTILINE)
ANALYZE = "--analyze -Xclang -analyzer-werror -Xanalyzer -analyzer-output=text -o /dev/null"
# For each of the kernel's semantic patches that report: with the options it names itself. Those in
# OCaml are left out, it would have to be compiled.
COCCICHECK = """
find /source/scripts/coccinelle -name '*.cocci' | sort | while read -r rules; do
	grep -q 'virtual report' "$rules" && ! grep -q '@script:ocaml\\|@initialize:ocaml' "$rules" ||
		continue
	options=$(sed -n 's,^// Options: *,,p' "$rules" | head -n 1)
	spatch --very-quiet -D report --no-show-diff $options --cocci-file "$rules" --dir . \\
		-I kernel/include -I kernel/include/uapi 2>/tmp/errors || cat /tmp/errors
done
"""


def everything() -> int:
    """Run every check; return 1 when one of them found fault, else 0."""
    found = [compiled(name) for name in kernels.STOCK]
    return max(*found, sparse(), *map(clang, ARCHITECTURES), analyzer(), coccicheck())


def compiled(name: str) -> int:
    """Compile with gcc for a stock kernel: no warning at W=1."""
    say(f"gcc W=1 for {name}")
    base = tree.get(kernels.RECIPES[name])
    headers = f"/usr/lib/modules/{base.release()}/build"
    return made(base, headers, f"gcc-{name}", ["KCFLAGS=-Werror"])


def sparse() -> int:
    """Run sparse on what is compiled for the kernel whose headers the tools' tree has."""
    say("sparse")
    base = tree.get(TOOLS)
    headers = f"/usr/lib/modules/{base.release()}/build"
    return made(base, headers, "sparse", ["C=2", "CHECK=sparse -Wsparse-error"])


def clang(architecture: str) -> int:
    """Compile with clang for an architecture: no warning at W=1."""
    say(f"clang W=1 for {architecture}")
    # There is no kernel whose symbols could be looked up.
    words = ["LLVM=1", f"ARCH={architecture}", "KBUILD_MODPOST_WARN=1", "KCFLAGS=-Werror"]
    name = f"clang-{architecture}"
    return made(tree.get(TOOLS), BUILD_INSIDE, name, words, clang_mounts(architecture))


def clang_mounts(architecture: str) -> Mapping[Path, str]:
    return {debug_kernel.source(): SOURCE_INSIDE, clang_kernel(architecture): BUILD_INSIDE}


def analyzer() -> int:
    """Let clang's analyser look at every file that clang() has compiled."""
    say("clang's analyser")
    architecture = ARCHITECTURES[0]
    copy = folder(f"clang-{architecture}")
    mounts = clang_mounts(architecture)
    sandbox = Sandbox(tree.get(TOOLS), writable=[copy], mounts=mounts, cwd=BUILD_INSIDE)
    commands = [match for file in sorted(copy.rglob(".*.o.cmd")) if (match := compiler(file))]
    if not commands:
        raise SetupError("there is nothing to analyse")
    script = "status=0\n" + "".join(f"{line} || status=1\n" for line in commands)
    # A list of its own: it is longer than an argument may be.
    (copy / "analyse").write_text(f"{script}exit $status\n")
    return sandbox.run(["sh", str(copy / "analyse")], stdout=1)


def compiler(file: Path) -> str | None:
    """Return the command that analyses what make compiled as it says in `file`."""
    match = COMMAND.search(file.read_text())
    if not match or match["compile"].split()[-1].endswith((".S", ".mod.c")):
        return None
    words = re.sub(r" -Wp,-MMD,\S+| -c -o \S+", "", match["compile"])
    return words.replace("clang ", f"clang {ANALYZE} ", 1)


def coccicheck() -> int:
    """Run the kernel's own semantic patches; whatever they report is a fault."""
    say("coccicheck")
    copy = folder("coccinelle")
    build.mirror(paths.ROOT, copy, build.SOURCES)
    # Its bugs are what it is for.
    (copy / "tests/module/planted.c").unlink()
    mounts = {debug_kernel.source(): SOURCE_INSIDE}
    sandbox = Sandbox(tree.get(TOOLS), writable=[copy], mounts=mounts, cwd=str(copy))
    report = copy / "report"
    with report.open("wb") as file:
        status = sandbox.run(["sh", "-c", COCCICHECK], stdout=file)
    found = [line for line in report.read_text().splitlines() if line]
    print("".join(f"{line}\n" for line in found), end="", flush=True)
    return 1 if status or found else 0


def folder(name: str) -> Path:
    """Return where one check has its copy of the sources."""
    return paths.BUILD / "lint" / name


def made(
    base: Tree,
    headers: str,
    name: str,
    words: Sequence[str],
    mounts: Mapping[Path, str] | None = None,
) -> int:
    """Compile a copy of the sources anew with these words for make; 1 when that fails."""
    copy = folder(name)
    # Anew: make would pass over what has not changed, and with it what was wrong there.
    shutil.rmtree(copy, ignore_errors=True)
    build.mirror(paths.ROOT, copy, build.SOURCES)
    line = ["make", "-s", f"-j{os.cpu_count() or 1}", "-C", headers, f"M={copy}", "W=1"]
    line += ["CONFIG_DEBUG_INFO_BTF_MODULES=", "TESTS=tests/module", *words, "modules"]
    log = copy / "log"
    with log.open("wb") as file:
        status = Sandbox(base, writable=[copy], mounts=mounts or {}).run(
            ["sh", "-c", 'exec "$@" 2>&1', "sh", *line], stdout=file
        )
    # Nobody has the symbols of the kernel that clang compiles for.
    kept = [line for line in log.read_text().splitlines() if "undefined!" not in line]
    sys.stdout.write("".join(f"{line}\n" for line in kept))
    sys.stdout.flush()
    return 1 if status else 0


def clang_kernel(architecture: str) -> Path:
    """Return a kernel's build folder that clang can make modules in."""
    configs = [debug_kernel.CONFIGS / f"{name}.config" for name in CONFIGS]
    fragment = "".join(config.read_text() for config in configs)
    sources = debug_kernel.source()
    key = paths.digest(TOOLS.key(), sources.name, fragment)
    target = paths.cache() / "kernels" / f"clang-{architecture}-{key}"

    def prepare(aside: Path) -> None:
        (aside / "fragment.config").write_text(fragment)
        make = f"make -s -C {SOURCE_INSIDE} O={BUILD_INSIDE} LLVM=1 ARCH={architecture}"
        script = f"""set -e
            {debug_kernel.configured(make)}
            {make} -j{os.cpu_count() or 1} modules_prepare
        """
        mounts = {sources: SOURCE_INSIDE, aside: BUILD_INSIDE}
        with step("preparing a kernel for clang"):
            if Sandbox(tree.get(TOOLS), mounts=mounts).run(["sh", "-ec", script]):
                raise SetupError("no kernel can be prepared for clang")

    return paths.make_once(target, prepare)
