# SPDX-License-Identifier: MIT
"""The examples: short, with a comment on top, and in their README. System tests run them."""

import ast
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


def test_there_are_ten() -> None:
    assert len(SCRIPTS) == 10


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_is_short_and_says_what_it_shows(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= 65, "a minute is not enough to read it"
    assert lines[0] == "# SPDX-License-Identifier: MIT"
    assert lines[1].startswith("# ") and lines[2].startswith("# ")
    assert ast.get_docstring(ast.parse(path.read_text()))
    assert f"| [{path.name}]({path.name}) |" in (EXAMPLES / "README.md").read_text()


def test_plain_fcntl_needs_the_standard_library_only() -> None:
    tree = ast.parse((EXAMPLES / "plain_fcntl.py").read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in imports for alias in node.names}
    assert names <= sys.stdlib_module_names
