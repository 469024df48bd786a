# SPDX-License-Identifier: MIT
"""Bugs on purpose: what counts as noticed, without a guest."""

import re
from pathlib import Path

import pytest
from guest import __main__ as command_line
from guest import faults, kernels, paths, planted, vm
from guest.report import SetupError

SOURCE = (paths.ROOT / "tests/module/planted.c").read_text()
LOG = f"""\
[    1.0] WARNING: possible circular locking dependency detected
[    9.0] {faults.STARTED}
[   10.0] BUG: sleeping function called from invalid context at x.c:1
"""


def test_what_is_found_is_found_after_the_start(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(LOG)
    sleep = {"sleep": "BUG: sleeping function"}
    assert faults.check_planted(log, sleep) == 0
    assert faults.check_planted(log, {**sleep, "order": "possible circular"}) == 1


def test_every_bug_is_one_of_the_module() -> None:
    there = set(re.findall(r'^\t\{ "([a-z-]+)", \w+ \},$', SOURCE, re.MULTILINE))
    used = {bug for guest in planted.GUESTS for bug in guest.bugs}
    assert used == there


def test_every_message_counts_as_a_fault() -> None:
    for guest in planted.GUESTS:
        for message in guest.bugs.values():
            line = message.replace(r"\d+", "3")
            assert faults.find(f"{faults.STARTED}\n{line}\n"), message


def test_a_bug_that_is_missed_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def run(kernel: str, session: vm.Session) -> int:
        ran.append((kernel, session.planted))
        return 1 if "leak" in session.planted else 0

    monkeypatch.setattr(vm, "run", run)
    monkeypatch.setattr(kernels, "get", lambda name: name)
    assert planted.every(["lockdep"], vm.Session("")) == 0
    assert planted.every(["lockdep", "kasan"], vm.Session("")) == 1
    lockdep = [guest.kernel for guest in planted.GUESTS if guest.kernel == "lockdep"]
    assert [kernel for kernel, _ in ran] == [*lockdep, *lockdep, "kasan"]
    assert all(bugs for _, bugs in ran)


@pytest.mark.parametrize("name", ["SECONDS", "CALLS", "SEED"])
def test_the_fuzzer_takes_numbers_only(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(command_line.host, "require", lambda *_, **__: None)
    with pytest.raises(SetupError, match=name):
        command_line.run("fuzz", {name: "soon"})
