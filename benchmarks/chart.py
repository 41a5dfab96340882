"""Line charts as one PNG, drawn with OpenCV: three panels a row, a legend under each title."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

__all__ = ["Panel", "draw"]

WIDTH, HEIGHT, ACROSS = 460, 370, 3
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 78, 40  # margins of a panel
FONT = cv2.FONT_HERSHEY_SIMPLEX
INK, FAINT = (40, 40, 40), (225, 225, 225)
#: BGR, by the order of first use; the same name has the same colour in all panels.
COLOURS = [
    *((0, 0, 0), (190, 110, 0), (0, 90, 220), (60, 150, 0), (170, 50, 170)),
    *((0, 165, 220), (120, 120, 120), (150, 150, 0), (60, 60, 180)),
]


@dataclass(frozen=True)
class Panel:
    """A title and its lines: name -> (x, y); less than `span` is never drawn as high as the panel."""

    title: str
    lines: dict[str, list[tuple[float, float]]]
    span: float = 0.0


def draw(path: Path, panels: list[Panel]) -> None:
    """Panels with lines, side by side."""
    panels = [panel for panel in panels if panel.lines]
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    colours = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}
    rows = -(-len(panels) // ACROSS)
    sheet = np.full((rows * HEIGHT, ACROSS * WIDTH, 3), 255, np.uint8)
    for index, panel in enumerate(panels):
        y, x = index // ACROSS * HEIGHT, index % ACROSS * WIDTH
        sheet[y : y + HEIGHT, x : x + WIDTH] = _panel(panel, colours)
    cv2.imwrite(str(path), sheet)


def _panel(panel: Panel, colours: dict[str, tuple[int, int, int]]) -> np.ndarray:
    picture = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    _write(picture, panel.title, (LEFT, 24), 0.5)
    points = [point for line in panel.lines.values() for point in line]
    xs, ys = zip(*points, strict=True)
    ticks = _ticks(min(ys), max(max(ys), min(ys) + panel.span))
    low, high, last = ticks[0], ticks[-1], max(xs)

    def place(x: float, y: float) -> tuple[int, int]:
        across = LEFT + x / last * (WIDTH - LEFT - RIGHT)
        return round(across), round(TOP + (high - y) / (high - low) * (HEIGHT - TOP - BOTTOM))

    for tick in ticks:
        cv2.line(picture, place(0, tick), place(last, tick), FAINT, 1, cv2.LINE_AA)
        _write(picture, f"{tick:.4g}", (6, place(0, tick)[1] + 4), 0.4)
    for tick in (0, last / 2, last):
        _write(picture, f"{tick:,.0f}", (place(tick, low)[0] - 16, HEIGHT - 20), 0.4)
    _write(picture, "steps", (WIDTH // 2 + 40, HEIGHT - 6), 0.4)
    for index, (name, line) in enumerate(panel.lines.items()):
        corners = np.array([place(x, y) for x, y in line], np.int32)
        cv2.polylines(picture, [corners], False, colours[name], 2, cv2.LINE_AA)
        for corner in corners:
            cv2.circle(picture, tuple(map(int, corner)), 3, colours[name], -1, cv2.LINE_AA)
        _legend(picture, index, name, colours[name])
    return picture


def _legend(picture: np.ndarray, index: int, name: str, colour: tuple[int, int, int]) -> None:
    """Two a row, between title and lines."""
    x, y = LEFT + index % 2 * 190, 42 + index // 2 * 17
    cv2.line(picture, (x, y), (x + 18, y), colour, 2, cv2.LINE_AA)
    _write(picture, name, (x + 24, y + 4), 0.4)


def _write(picture: np.ndarray, text: str, place: tuple[int, int], size: float) -> None:
    cv2.putText(picture, text, place, FONT, size, INK, 1, cv2.LINE_AA)


def _ticks(low: float, high: float) -> list[float]:
    """Round values, five or so, that hold both."""
    span = max(high - low, 1e-6)
    unit = 10 ** np.floor(np.log10(span))
    step = next(float(unit * k) for k in (0.2, 0.25, 0.5, 1, 2) if span / (unit * k) <= 5)
    first, last = np.floor(low / step), np.ceil(high / step)
    return [float(i * step) for i in np.arange(first, last + 1)]
