# SPDX-License-Identifier: MIT
"""What every dmabuf-sync command has in common: the table, messages, exit statuses, output."""

import errno
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import click
import pytest

from dmabuf_sync import Access
from dmabuf_sync.command import main as command
from dmabuf_sync.command import output
from dmabuf_sync.command.failure import TRACEBACK, Failure, Status

WAITERS = str(Path(__file__).with_name("waiters.dsync"))
RULES = Path(__file__).parents[2] / "packaging" / "udev" / "70-dmabuf-sync.rules"


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[BaseException]]:
    """A command called "fail" that raises what the test puts into this list."""
    what: list[BaseException] = []

    @click.command("fail")
    def fail() -> None:
        raise what[0]

    module = ModuleType("fail")
    module.command = fail  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dmabuf_sync.command.fail", module)
    monkeypatch.setitem(command.COMMANDS, "fail", command.Row("fail", "Fail."))
    monkeypatch.delenv(TRACEBACK, raising=False)
    yield what


@pytest.mark.parametrize("name", command.COMMANDS)
def test_the_table_says_what_the_commands_say(name: str) -> None:
    context = click.Context(command.cli)
    found = command.cli.get_command(context, name)
    assert found is not None
    assert found.name == name
    assert found.get_short_help_str(100) == command.COMMANDS[name].help


def test_help_imports_no_command() -> None:
    code = (
        "import sys; from dmabuf_sync.command.main import main; main(['--help']);"
        "print([m for m in sys.modules if m.startswith('dmabuf_sync.command.')"
        " and m.split('.')[2] not in ('main', 'failure')],"
        " {'rich', 'dmabuf_sync._uapi'} & {*sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[] set()"
    for status in Status:
        assert f"{status:d}  " in run.stdout


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (Failure("no", Status.MISSING, hint="get it"), Status.MISSING, "no\ndmabuf-sync: get it"),
        (OSError(errno.EDEADLK, "lock fd 3: deadlock"), Status.FAILED, "lock fd 3: deadlock"),
        (PermissionError(errno.EACCES, "no", "/x"), Status.DENIED, "/x: no"),
        (FileNotFoundError(errno.ENOENT, "none", "/dev/x"), Status.MISSING, "/dev/x: none"),
        (FileNotFoundError(errno.ENOENT, "not there", "x"), Status.FAILED, "x: not there"),
        (ValueError("length -1"), Status.FAILED, "length -1"),
        (ModuleNotFoundError("No module named 'x'"), Status.MISSING, "No module named 'x'"),
        (KeyError("x"), Status.BUG, f"a bug: KeyError: 'x'; {TRACEBACK}=1 shows where"),
    ],
)
def test_an_error_is_a_sentence_and_a_status(
    fails: list[BaseException],
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: Status,
    words: str,
) -> None:
    fails.append(error)
    assert command.main(["fail"]) == status
    assert capsys.readouterr() == ("", f"dmabuf-sync: {words}\n")


def test_a_note_is_part_of_the_sentence(
    fails: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    error = FileNotFoundError(errno.ENOENT, "none", "/dev/x")
    error.add_note("it comes with x")
    fails.append(error)
    assert command.main(["fail"]) == Status.MISSING
    assert capsys.readouterr().err == "dmabuf-sync: /dev/x: none; it comes with x\n"


def test_no_control_character_reaches_the_terminal(
    fails: list[BaseException], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fails.append(Failure("process 7 (\x1b[31m\rx\udcff)", hint="\x07"))
    assert command.main(["fail"]) == Status.FAILED
    assert capsys.readouterr().err == "dmabuf-sync: process 7 (?[31m?x?)\ndmabuf-sync: ?\n"
    recording = (Path(__file__).with_name("waiters.dsync")).read_text()
    path = tmp_path / "run.dsync"
    path.write_text(recording.replace('"frame"', '"fra\\u001b[31mme"'))
    assert command.main(["report", str(path)]) == 0
    out = capsys.readouterr().out
    assert "fra?[31mme" in out
    assert "\x1b" not in out


def test_ctrl_c_says_nothing(
    fails: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    fails.append(KeyboardInterrupt())
    assert command.main(["fail"]) == Status.INTERRUPTED
    assert capsys.readouterr() == ("", "")


def test_a_developer_gets_the_traceback(
    fails: list[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TRACEBACK, "1")
    fails.append(KeyError("x"))
    with pytest.raises(KeyError):
        command.main(["fail"])


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["nix"]) == Status.USAGE
    assert "No such command 'nix'" in capsys.readouterr().err
    assert command.main(["--nix"]) == Status.USAGE


@pytest.mark.parametrize(
    "words", [["--help"], ["report", WAITERS], ["report", "--json", WAITERS]]
)
def test_nobody_reads_on(words: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    run = subprocess.run(
        [sys.executable, "-m", "dmabuf_sync", *words], stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    assert (run.returncode, run.stderr) == (Status.PIPE, b"")


def test_a_terminal_may_lack_letters() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "dmabuf_sync", "report", WAITERS],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
    )
    assert (run.returncode, run.stderr) == (0, b"")
    assert b"?s" in run.stdout


@dataclass(frozen=True)
class Point:
    x: int
    kind: Access


def test_json_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit(Point(1, Access.READ))
    output.emit({"names": {"b", "a"}})
    first, second = capsys.readouterr().out.splitlines()
    assert json.loads(first) == {"x": 1, "kind": "read"}
    assert json.loads(second) == {"names": ["a", "b"]}


PROGRESS = """
import time
from dmabuf_sync.command import output
output.PATIENCE = {patience}
with output.progress("working", 10) as done:
    for _ in range(5):
        done(2)
        time.sleep(0.1)
        print("data")
"""


@pytest.mark.parametrize(("patience", "shown"), [(0.1, True), (30, False)])
def test_a_bar_only_for_what_takes_long(patience: float, shown: bool) -> None:
    ours, theirs = pty.openpty()
    code = PROGRESS.format(patience=patience)
    run = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=theirs, check=True
    )
    # What is printed meanwhile is no part of the bar.
    assert run.stdout == b"data\n" * 5
    os.close(theirs)
    seen = b""
    try:
        while data := os.read(ours, 4096):
            seen += data
    except OSError:
        pass  # EIO: the other side is closed
    os.close(ours)
    assert (b"working" in seen) == shown


def test_no_bar_in_a_pipe() -> None:
    code = PROGRESS.format(patience=0)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert (run.stdout, run.stderr) == (b"data\n" * 5, b"")


def test_the_manual_has_a_page_for_each_command(tmp_path: Path) -> None:
    assert command.main(["manual", str(tmp_path)]) == 0
    pages = {page.name: page.read_text() for page in (tmp_path / "man1").iterdir()}
    assert set(pages) == {"dmabuf-sync.1", *(f"dmabuf-sync-{name}.1" for name in command.COMMANDS)}
    for text in pages.values():
        assert text.startswith(".TH DMABUF\\-SYNC")
        assert "\n.SH SYNOPSIS\n.B dmabuf\\-sync" in text
        lines = text.splitlines()
        for number, line in enumerate(lines):
            assert not line.startswith("'")
            if line.startswith("."):
                assert line.split()[0] in {".TH", ".SH", ".PP", ".TP", ".B", ".BR", ".nf", ".fi"}
            if line == ".TP":
                assert lines[number + 2], f"nothing is said of {lines[number + 1]}"
    assert "\\-\\-timeout SECONDS" in pages["dmabuf-sync-lock.1"]
    assert "dmabuf\\-sync\\-status(1)" in pages["dmabuf-sync.1"]


def test_doctor_advises_the_rule_that_is_shipped() -> None:
    from dmabuf_sync.command.checks import EDU, udev_rule
    from dmabuf_sync.modules import NODES

    rules = RULES.read_text().splitlines()
    for node in (*NODES.values(), EDU):
        assert udev_rule(node) in rules
    assert 'KERNEL=="udmabuf"' in udev_rule(Path("/dev/udmabuf"))


def test_roff_takes_nothing_for_markup() -> None:
    from dmabuf_sync.command.manual import roff

    assert roff('.a-b\\c "d"') == "\\&.a\\-b\\ec \\(dqd\\(dq"


@pytest.mark.parametrize(
    ("words", "number", "wanted"),
    [("dmabuf-sync sta", 1, "plain,status"), ("dmabuf-sync load vdm", 2, "plain,vdmabuf")],
)
def test_completion(
    words: str, number: int, wanted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["completion", "bash"]) == 0
    assert "_DMABUF_SYNC_COMPLETE=bash_complete" in capsys.readouterr().out
    env = {
        **os.environ,
        "_DMABUF_SYNC_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(number),
    }
    code = "from dmabuf_sync.command.main import main; main()"
    run = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
    )
    assert (run.stdout, run.stderr) == (f"{wanted}\n", "")


@pytest.mark.parametrize(
    "words",
    [
        ["lock", "--pid", "2147483648", "--fd", "1", "--", "true"],
        ["lock", "--pid", "1", "--fd", "2147483648", "--", "true"],
        ["top", "--interval", "inf", "--once"],
        ["timeline", "--from", "nan"],
        ["stress", "--seconds", "nan"],
        ["timeline", "--length", "1e300"],
        ["top", "--interval", "1e10", "--once"],
    ],
)
def test_numbers_that_are_none(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dmabuf_sync", *words], capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    assert "Invalid value" in done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_closed_streams(closed: str) -> None:
    command = f"{sys.executable} -m dmabuf_sync --help {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
