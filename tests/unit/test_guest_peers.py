# SPDX-License-Identifier: MIT
"""The tests of others: what their results say of the modules, without a guest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from guest import build, peers, vm

RESULTS = ("locka: status 0", "udmabuf: status 0", "udmabuf: ok 1 size")


def compared(
    folder: Path, patch: pytest.MonkeyPatch, without: Sequence[str], loaded: Sequence[str]
) -> int:
    """Compare on a kernel where the programs come to this."""

    def run(kernel: SimpleNamespace, session: vm.Session) -> int:
        lines = loaded if session.modules else without
        Path(session.command.split()[-1]).write_text("".join(f"{line}\n" for line in lines))
        return 0

    patch.setattr(vm, "run", run)
    patch.setattr(build, "workspace", lambda kernel: folder)
    patch.setattr(peers, "programs", lambda kernel, folder: None)
    return peers.compare(SimpleNamespace(release="0.0"), vm.Session(""))


@pytest.mark.parametrize(
    ("without", "loaded", "status"),
    [
        (RESULTS, RESULTS, 0),
        (RESULTS, RESULTS[:2], 1),
        (("locka: status 2",), ("locka: status 2",), 0),
        # Neither is a result.
        (("locka: status 127",), ("locka: status 127",), 1),
        (("locka: status 126",), ("locka: status 126",), 1),
    ],
)
def test_compare(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    without: Sequence[str],
    loaded: Sequence[str],
    status: int,
) -> None:
    assert compared(tmp_path, monkeypatch, without, loaded) == status
