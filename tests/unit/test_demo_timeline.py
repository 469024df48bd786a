# SPDX-License-Identifier: MIT
"""The timeline picture of the main job."""

from __future__ import annotations

import json

import pytest

from dmabuf_sync.demo.timeline import Lane, Timeline, render

MS = 1_000_000


def pipeline(title: str, period: int) -> Timeline:
    timeline = Timeline(title)
    for frame in range(20):
        start = 5_000 * MS + frame * period * MS
        timeline.add(Lane.CAMERA, frame, start, start + 8 * MS)
        timeline.add(Lane.DMA, frame, start, start + 9 * MS, waiting=True)
        timeline.add(Lane.DMA, frame, start + 9 * MS, start + 20 * MS)
        timeline.add(Lane.CPU, frame, start + 10 * MS, start + 20 * MS, waiting=True)
        timeline.add(Lane.CPU, frame, start + 20 * MS, start + 30 * MS)
    return timeline


def test_picture_holds_every_lane_of_both_ways() -> None:
    one, two = pipeline("conventional", 40), pipeline("locks", 12)
    image = render([one, two], 0.15)
    alone = render([one], 0.15)
    assert image.width == alone.width
    assert image.height > 1.8 * alone.height - 100
    assert len(image.getcolors(maxcolors=1 << 16) or ()) > 10


def test_picture_shows_where_work_is() -> None:
    timeline = Timeline("one bar")
    timeline.add(Lane.CAMERA, 0, 0, 50 * MS)
    timeline.add(Lane.DMA, 1, 50 * MS, 100 * MS)
    image = render([timeline], 0.1)
    blue, orange = (0x3B, 0x76, 0xC4), (0xD9, 0x82, 0x2B)
    columns: dict[tuple[int, int, int], set[int]] = {blue: set(), orange: set()}
    for x in range(image.width):
        for y in range(image.height - 60):  # above the legend
            pixel = image.getpixel((x, y))
            if pixel in columns:
                columns[pixel].add(x)  # type: ignore[index]
    assert max(columns[blue]) <= min(columns[orange])
    assert abs(len(columns[blue]) - len(columns[orange])) <= 2


def test_waits_that_overlap_get_rows_of_their_own() -> None:
    apart, overlapping = Timeline("apart"), Timeline("overlapping")
    for frame in range(4):
        apart.add(Lane.CPU, frame, frame * 20 * MS, (frame + 1) * 20 * MS, waiting=True)
        overlapping.add(Lane.CPU, frame, frame * MS, (frame + 40) * MS, waiting=True)
    assert render([overlapping], 0.1).height > render([apart], 0.1).height


def test_json_counts_from_the_first_span() -> None:
    data = json.loads(json.dumps(pipeline("locks", 12).to_json()))
    assert data["title"] == "locks"
    assert data["spans"][0]["start_ns"] == 0
    assert data["spans"][0]["lane"] == "camera"
    assert {span["lane"] for span in data["spans"]} == {"camera", "DMA", "CPU"}
    assert all(span["start_ns"] <= span["end_ns"] for span in data["spans"])


def test_busy_leaves_waits_out() -> None:
    assert pipeline("locks", 12).busy(Lane.DMA) == [11 * MS] * 20


def test_nothing_recorded_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing was recorded"):
        render([Timeline("empty")], 0.1)
