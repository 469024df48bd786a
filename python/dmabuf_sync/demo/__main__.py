# SPDX-License-Identifier: MIT
"""Runs the main job and prints what happened: ``python3 -m dmabuf_sync.demo --output DIR``."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from ..command.output import progress
from . import crash, deadlock
from .draw import Pixels
from .pipeline import Run, conventional, locked, unsynchronised
from .rig import Rig, engine_speed, set_engine_speed
from .timeline import Lane, Timeline, render

_CAMERA_RATE = 120
_CALIBRATION = 30  # frames, of which the second half counts
_UNSYNCHRONISED = (20, 200)  # frames: at least, and at most until one is torn


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python3 -m dmabuf_sync.demo",
        description="A camera, a DMA engine and the CPU share dma-bufs, with locks and without.",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for what is saved")
    parser.add_argument("--frames", type=int, default=150, help="frames each way (%(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=1000, help="rounds of each deadlock task (%(default)s)"
    )
    parser.add_argument("--width", type=int, default=640, help="pixels (%(default)s)")
    parser.add_argument("--height", type=int, default=360, help="pixels (%(default)s)")
    options = parser.parse_args(arguments)
    if options.frames < 2 or options.rounds < 1:
        parser.error("needs two frames and one round, or more")
    return options


def _median(run: Run, lane: Lane) -> float:
    """Milliseconds that a piece of work took."""
    return statistics.median(run.timeline.busy(lane)) / 1e6


@contextmanager
def _balanced_engine(rig: Rig) -> Iterator[int]:
    """Slow the engine down until it needs as long for a frame as the CPU; gives bytes a second."""
    before = engine_speed()
    try:
        set_engine_speed(0)
        with progress("calibrating", _CALIBRATION) as done:
            stages = conventional(rig, _CALIBRATION, done).timeline.busy(Lane.CPU)
        seconds = statistics.median(stages[_CALIBRATION // 2 :]) / 1e9
        speed = round(rig.frame_bytes / seconds)
        set_engine_speed(speed)
        yield speed
    finally:
        set_engine_speed(before)


def _summary(run: Run) -> dict[str, object]:
    return {
        "frames": run.frames,
        "frames_per_second": round(run.rate, 2),
        "torn": run.torn,
        "stale": run.stale,
        "median_ms": {lane.value: round(_median(run, lane), 3) for lane in Lane},
    }


def _save(picture: Pixels | None, path: Path) -> None:
    if picture is None:
        return
    channels = np.ascontiguousarray(picture).view(np.uint8).reshape(*picture.shape, 4)
    Image.fromarray(np.ascontiguousarray(channels[:, :, 2::-1])).save(path)


def _say(topic: str, text: str) -> None:
    print(f"{topic:<14}{text}", flush=True)


def _say_run(topic: str, run: Run, more: str = "") -> None:
    stages = ", ".join(f"{lane.value} {_median(run, lane):.1f}" for lane in Lane)
    _say(
        topic,
        f"{run.rate:6.1f} frames/s   {run.frames} frames: {run.torn} torn, {run.stale} stale"
        f"   median ms: {stages}{more}",
    )


def _save_timelines(one: Run, other: Run, output: Path) -> None:
    timelines = [
        Timeline(f"{title}: {run.rate:.1f} frames per second", run.timeline.spans)
        for title, run in (
            ("Conventional: each step waits for the one before", one),
            ("dmabuf-sync locks: camera, DMA engine and CPU at once", other),
        )
    ]
    length = 8 / one.rate  # seconds: eight frames of the slower way
    render(timelines, length).save(output / "timeline.png")
    data = json.dumps([timeline.to_json() for timeline in timelines], indent=1)
    (output / "timeline.json").write_text(data + "\n")


def _pipelines(options: argparse.Namespace, problems: list[str]) -> dict[str, object]:
    output: Path = options.output
    with Rig(options.width, options.height, _CAMERA_RATE) as rig, _balanced_engine(rig) as speed:
        _say(
            "camera",
            f"vivid, {rig.width}x{rig.height} pixels of 32 bits, {rig.camera.rate:.0f} frames/s"
            " asked for, straight into dma-bufs",
        )
        _say("DMA engine", f"vblit at {speed / 1e6:.0f} MB/s: a frame takes as long as on the CPU")
        with progress("conventional", options.frames) as done:
            one = conventional(rig, options.frames, done)
        _say_run("conventional", one)
        with progress("dmabuf-sync", options.frames) as done:
            other = locked(rig, options.frames, done)
        ratio = other.rate / one.rate
        _say_run("dmabuf-sync", other, f"   {ratio:.2f} times as fast")
        # Slower, so that even a CPU that is kept from its work meets a blit at work.
        set_engine_speed(speed // 2)
        with progress("no locks") as done:
            none = unsynchronised(rig, *_UNSYNCHRONISED, done)
        _say_run("no locks", none)
    for way, run in (("the conventional way", one), ("with locks", other)):
        if run.torn or run.stale:
            problems.append(f"{run.torn + run.stale} of {run.frames} frames spoilt {way}")
    if not none.torn:
        problems.append(f"no torn frame found in {none.frames} without synchronisation")
    with progress("drawing"):
        _save(other.example, output / "frame.png")
        _save(none.example, output / "torn.png")
        _save_timelines(one, other, output)
    return {
        "camera": {"width": rig.width, "height": rig.height, "rate": rig.camera.rate},
        "engine_bytes_per_second": speed,
        "conventional": _summary(one),
        "locked": _summary(other),
        "ratio": round(ratio, 3),
        "unsynchronised": _summary(none),
    }


def _deadlock(rounds: int, problems: list[str]) -> dict[str, object]:
    with progress("deadlock"):
        tangle = deadlock.run(rounds)
    _say(
        "deadlock",
        f"task A {{A, B}} against task B {{C, A}}: {tangle.rounds} rounds each in"
        f" {tangle.seconds:.2f} s, {tangle.counted} of {2 * tangle.rounds} counted",
    )
    if not tangle.ok:
        problems.append(f"two tasks counted {tangle.counted}, not {2 * tangle.rounds}")
    return {"rounds": tangle.rounds, "counted": tangle.counted, "seconds": tangle.seconds}


def _crash(problems: list[str]) -> dict[str, object]:
    with progress("crash"):
        result = crash.run()
    _say("crash", f"process {result.holder} killed (SIGKILL) with the lock, three waiting:")
    for heir in result.heirs:
        _say("", f"no. {heir.place}, {heir.way} in process {heir.pid}: {heir.seconds * 1e3:.2f} ms")
    if not result.ok:
        problems.append("the lock of a killed process was not handed on in order")
    heirs = [{"place": h.place, "way": h.way, "seconds": h.seconds} for h in result.heirs]
    return {"heirs": heirs}


def run(arguments: Sequence[str] | None, problems: list[str]) -> None:
    """Run all parts; `problems` gets a sentence for each of them that did not do what it must.

    OSError, LookupError and subprocess.CalledProcessError when this machine lacks what it takes.
    """
    options = _arguments(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    results = {
        "pipeline": _pipelines(options, problems),
        "deadlock": _deadlock(options.rounds, problems),
        "crash": _crash(problems),
        "problems": problems,
    }
    (options.output / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    names = "frame.png torn.png timeline.png timeline.json results.json".split()
    _say("saved", "  ".join(str(options.output / name) for name in names))


def main(arguments: Sequence[str] | None = None) -> int:
    """As run(), with problems and errors as lines on standard error; 0 when there were none.

    130 after Ctrl-C.
    """
    problems: list[str] = []
    try:
        run(arguments, problems)
    except KeyboardInterrupt:
        return 130
    except (OSError, ValueError, LookupError, subprocess.CalledProcessError) as error:
        notes = "; ".join(getattr(error, "__notes__", ()))
        problems.append(f"{error}; {notes}" if notes else str(error))
    for problem in problems:
        print(f"dmabuf_sync.demo: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
