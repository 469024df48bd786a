# SPDX-License-Identifier: MIT
"""What the guest's displays show: QEMU takes a picture when somebody in the guest asks for one.

The guest writes the name of a display and a newline to the virtio port PORT, and reads a line with
a number of bytes and that many bytes: a picture in PPM format. Instead of a picture it gets
"error REASON". It talks to this process and not to QEMU, whose monitor would let it write to any
file of the host.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

PORT = "dmabuf-sync.screen"
# Nothing is drawn anywhere; the ROMs, for use before there is a kernel, would only be run.
DISPLAYS: Mapping[str, str] = {
    "bochs": "bochs-display,id=bochs,romfile=",
    "virtio": "virtio-gpu-pci,id=virtio,max_outputs=1,xres=1024,yres=768,romfile=",
}
TIMEOUT = 60.0  # seconds for QEMU to answer


def options(folder: Path) -> list[str]:
    """Return QEMU's options; `folder` is where Screen() works."""
    words = []
    for device in DISPLAYS.values():
        words += ["-device", device]
    words += ["-qmp", f"unix:{escaped(folder / 'monitor')},server=on,wait=off"]
    words += ["-chardev", f"socket,id=screen,path={escaped(folder / 'screen')}"]
    return [*words, "-device", f"virtserialport,chardev=screen,name={PORT}"]


def escaped(path: Path) -> str:
    return str(path).replace(",", ",,")


class Screen:
    """Answers the guest from a thread of its own until the ``with`` block is left.

    QEMU connects to it when it starts, and again if it is started again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sockets = [socket.socket(socket.AF_UNIX)]
        self._sockets[0].bind(str(folder / "screen"))
        self._sockets[0].listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Screen:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for sock in self._sockets:
            sock.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # the end: the sockets are shut down
            while True:
                port, _ = self._sockets[0].accept()
                self._sockets.append(port)
                with contextlib.suppress(ConnectionError), port.makefile("rb") as requests:
                    for line in requests:
                        port.sendall(self._answer(line.decode(errors="replace").strip()))

    def _answer(self, display: str) -> bytes:
        try:
            picture = self._picture(display)
        except (OSError, ValueError) as error:
            return f"error {error}\n".encode()
        return b"%d\n" % len(picture) + picture

    def _picture(self, display: str) -> bytes:
        if display not in DISPLAYS:
            raise ValueError(f"{display!r} is none of {' '.join(DISPLAYS)}")
        path = self._folder / "screen.ppm"
        take = {"device": display, "filename": str(path)}
        execute(self._folder / "monitor", "screendump", take)
        try:
            return path.read_bytes()
        finally:
            path.unlink()


def execute(monitor: Path, command: str, arguments: Mapping[str, str]) -> None:
    """Have QEMU execute a command; raises ValueError with QEMU's words when it does not."""
    orders = ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments})
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(TIMEOUT)
        sock.connect(str(monitor))
        with sock.makefile("rwb") as file:
            file.readline()  # the greeting
            for order in orders:
                file.write(json.dumps(order).encode() + b"\n")
                file.flush()
                reply = answer(file)
                if "error" in reply:
                    raise ValueError(reply["error"]["desc"])


def answer(lines: Iterable[bytes]) -> dict[str, Any]:
    """Return the first reply; what else comes are events."""
    for line in lines:
        reply: dict[str, Any] = json.loads(line)
        if "return" in reply or "error" in reply:
            return reply
    raise ValueError("QEMU has ended")
