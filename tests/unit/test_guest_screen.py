# SPDX-License-Identifier: MIT
"""Pictures of the guest's displays: what the guest asks, what QEMU is asked, what comes back."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from guest import screen

from dmabuf_sync.demo.screen import PORT, parse_ppm

PICTURE = b"P6\n2 1\n255\n" + bytes([1, 2, 3, 10, 32, 255])


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[list[dict[str, object]]]:
    """A stand-in for QEMU's monitor, which writes PICTURE; gives what it was told."""
    told: list[dict[str, object]] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "monitor"))
        server.listen()

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client, client.makefile("rwb", buffering=0) as file:
                    file.write(b'{"QMP": {}}\r\n')
                    for line in file:
                        order = json.loads(line)
                        told.append(order)
                        file.write(b'{"event": "RESUME"}\r\n' + reply(order))

        def reply(order: dict[str, dict[str, str]]) -> bytes:
            if order.get("arguments", {}).get("device") == "virtio":
                return b'{"error": {"class": "GenericError", "desc": "no such console"}}\r\n'
            if "arguments" in order:
                Path(order["arguments"]["filename"]).write_bytes(PICTURE)
            return b'{"return": {}}\r\n'

        thread = threading.Thread(target=serve)
        thread.start()
        yield told
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def ask(port: socket.socket, display: str) -> bytes:
    port.sendall(display.encode() + b"\n")
    with port.makefile("rb", buffering=0) as answers:
        line = answers.readline()
        return answers.read(int(line)) if line.strip().isdigit() else line


def connect(folder: Path) -> socket.socket:
    port = socket.socket(socket.AF_UNIX)
    port.connect(str(folder / "screen"))
    return port


def test_the_guest_gets_what_qemu_has_drawn(
    tmp_path: Path, monitor: list[dict[str, object]]
) -> None:
    # The second QEMU has been started because the first one crashed.
    with screen.Screen(tmp_path):
        for _ in range(2):
            with connect(tmp_path) as port:
                assert ask(port, "bochs") == PICTURE
                assert ask(port, "bochs") == PICTURE
    assert [order["execute"] for order in monitor[:2]] == ["qmp_capabilities", "screendump"]
    assert not (tmp_path / "screen.ppm").exists()


def test_what_is_refused_is_one_line(tmp_path: Path, monitor: list[dict[str, object]]) -> None:
    with screen.Screen(tmp_path), connect(tmp_path) as port:
        assert ask(port, "/etc/passwd") == b"error '/etc/passwd' is none of bochs virtio\n"
        assert monitor == []
        assert ask(port, "virtio") == b"error no such console\n"
        assert ask(port, "bochs") == PICTURE


def test_without_qemu_there_is_an_answer_and_an_end(tmp_path: Path) -> None:
    with screen.Screen(tmp_path), connect(tmp_path) as port:
        assert ask(port, "bochs").startswith(b"error [Errno 2]")
        port.sendall(b"half a line")


def test_both_ends_have_one_name_for_the_port(tmp_path: Path) -> None:
    assert f"virtserialport,chardev=screen,name={PORT}" in screen.options(tmp_path)
    comma = " ".join(screen.options(Path("/a,b")))
    assert "unix:/a,,b/monitor,server=on" in comma


def test_ppm() -> None:
    np.testing.assert_array_equal(parse_ppm(PICTURE), [[0x010203, 0x0A20FF]])
    with pytest.raises(ValueError, match="PPM"):
        parse_ppm(b"P5\n2 1\n255\n\0\0")
