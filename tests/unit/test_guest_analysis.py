# SPDX-License-Identifier: MIT
"""What the analysers are told, and what the matrix of guests is."""

from pathlib import Path

from guest import analysis, kernels, suites

MADE = """\
savedcmd_/p/build/kernel/a.o := clang -Wp,-MMD,/p/build/kernel/.a.o.d -nostdinc -DMODULE \
-c -o /p/build/kernel/a.o /p/build/kernel/a.c  ; ./tools/objtool/objtool --orc /p/build/kernel/a.o

source_/p/build/kernel/a.o := /p/build/kernel/a.c
"""


def test_the_analyser_gets_the_compilers_own_options(tmp_path: Path) -> None:
    file = tmp_path / ".a.o.cmd"
    file.write_text(MADE)
    command = analysis.compiler(file)
    assert command is not None
    assert command.split() == [
        "clang",
        *analysis.ANALYZE.split(),
        *["-nostdinc", "-DMODULE", "/p/build/kernel/a.c"],
    ]


def test_what_make_wrote_itself_is_not_analysed(tmp_path: Path) -> None:
    file = tmp_path / ".a.mod.o.cmd"
    file.write_text(MADE.replace("a.c ", "a.mod.c "))
    assert analysis.compiler(file) is None
    file.write_text("savedcmd_/p/a.ko := ld -r -o /p/a.ko /p/a.o\n")
    assert analysis.compiler(file) is None


def test_every_stock_kernel_has_its_modes_of_preemption() -> None:
    assert set(suites.PREEMPT) == set(kernels.STOCK)
    assert all((Path(__file__).parents[2] / name).exists() for name in suites.SCHEDULED)
