"""Charts as SVG text without script: colours come from the page's style, every text is escaped, every number is rounded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup, escape

WIDTH = 420
"""Units of a chart across. On a phone a unit is a little less than a pixel, so text stays legible."""
_TOP, _RIGHT, _BOTTOM, _LEFT = 30, 14, 44, 74


class Series(NamedTuple):
    style: str
    """A class of the style sheet."""
    label: str
    heights: np.ndarray
    """One a bin."""


class Step(NamedTuple):
    label: str
    before: int
    after: int
    gone: str = "dropped"
    """A class of the style sheet for what this step took away."""


class Interval(NamedTuple):
    label: str
    value: float
    low: float
    high: float


def histogram(title: str, x_label: str, y_label: str, edges: np.ndarray, series: Sequence[Series]) -> Markup:
    """Outlines of several histograms over the same bins. edges: float64 (bins + 1,); heights (bins,) each."""
    top = max((float(s.heights.max(initial=0)) for s in series), default=0.0)
    frame = _Frame(x_label, y_label, (float(edges[0]), float(edges[-1])), (0.0, top or 1.0))
    marks = []
    for s in series:
        xs = np.repeat(edges, 2)
        ys = np.concatenate([[0.0], np.repeat(s.heights, 2), [0.0]])
        marks.append(f'<path class="outline {escape(s.style)}" d="{frame.path(xs, ys)}"/>')
    most = [
        f"{s.label}: most, {number(float(s.heights.max()))}, from {_value(edges, int(s.heights.argmax()))} "
        f"to {_value(edges, int(s.heights.argmax()) + 1)}"
        for s in series
        if s.heights.max(initial=0) > 0
    ]
    said = f"{y_label} by {x_label}. {'; '.join(most)}"
    return _svg(title, said, frame.height, [*frame.axes(), *marks, *_legend(series)])


def bars(title: str, x_label: str, y_label: str, labels: Sequence[str], heights: np.ndarray, *, style: str) -> Markup:
    """A bar for each label, with its height on it where there is room."""
    count = len(labels)
    frame = _Frame(x_label, y_label, (0.0, float(count)), (0.0, float(heights.max(initial=0)) or 1.0))
    wide = (frame.x(1.0) - frame.x(0.0)) * 0.8
    room = (WIDTH - _LEFT - _RIGHT) / (7 * max(map(len, labels), default=1) + 10)
    every = math.ceil(count / room)
    marks = []
    for i, (label, height) in enumerate(zip(labels, heights.tolist(), strict=True)):
        x, y = frame.x(i + 0.1), frame.y(height)
        says = f"{label}: {number(height)}"
        marks.append(
            f'<rect class="bar {escape(style)}" x="{_n(x)}" y="{_n(y)}" width="{_n(wide)}" '
            f'height="{_n(frame.y(0) - y)}"><title>{escape(says)}</title></rect>'
        )
        if count <= 8:
            marks.append(_text(x + wide / 2, y - 4, number(height), "value middle"))
        if i % every == 0:
            marks.append(_text(x + wide / 2, frame.y(0) + 15, label, "tick middle"))
    each = "; ".join(f"{label}: {number(height)}" for label, height in zip(labels, heights.tolist(), strict=True))
    return _svg(title, f"{y_label} by {x_label}. {each}", frame.height, [*frame.axes(x_ticks=False), *marks])


def line(
    title: str, x_label: str, y_label: str, xs: np.ndarray, ys: np.ndarray, *, style: str, zero: bool = True
) -> Markup:
    """A line through points (n,), the y axis from zero or from the lowest."""
    x_range = (float(xs.min()), float(xs.max()))
    if x_range[0] == x_range[1]:
        x_range = (x_range[0] - 0.5, x_range[1] + 0.5)
    low, high = min(float(ys.min()), 0.0 if zero else np.inf), float(ys.max())
    if low == high:
        low, high = low - 0.05, high + 0.05
    frame = _Frame(x_label, y_label, x_range, (low, high))
    marks = [f'<path class="line {escape(style)}" d="{frame.path(xs, ys)}"/>']
    if len(xs) <= 40:
        dots = zip(xs.tolist(), ys.tolist(), strict=True)
        marks += [
            f'<circle class="dot {escape(style)}" cx="{_n(frame.x(x))}" cy="{_n(frame.y(y))}" r="2.5"/>'
            for x, y in dots
        ]
    ends = [f"{number(float(ys[i]))} at {number(float(xs[i]))}" for i in (0, -1)]
    least, most = number(float(ys.min())), number(float(ys.max()))
    said = f"{y_label} by {x_label}: from {ends[0]} to {ends[1]}, between {least} and {most}"
    return _svg(title, said, frame.height, [*frame.axes(), *marks])


def funnel(title: str, steps: Sequence[Step]) -> Markup:
    """A bar a step: what is left of all that came in, and beside it what this step took away."""
    top = max((step.before for step in steps), default=0) or 1
    high, parts = 40, []
    for i, step in enumerate(steps):
        y = i * high
        left, gone = WIDTH * step.after / top, WIDTH * (step.before - step.after) / top
        parts.append(_text(0, y + 13, step.label, "name"))
        share = f" ({step.after / top:.1%} of all)" if step.after != top else ""
        lost = f"−{number(step.before - step.after)} → " if step.before != step.after else ""
        parts.append(_text(WIDTH, y + 13, f"{lost}{number(step.after)}{share}", "value end"))
        parts.append(f'<rect class="track" x="0" y="{y + 19}" width="{WIDTH}" height="11" rx="2"/>')
        parts.append(f'<rect class="bar kept" x="0" y="{y + 19}" width="{_n(left)}" height="11" rx="2"/>')
        if gone:
            parts.append(
                f'<rect class="bar {escape(step.gone)}" x="{_n(left)}" y="{y + 19}" width="{_n(gone)}" height="11" rx="2"/>'
            )
    said = "; ".join(f"{step.label}: {number(step.after)} left of {number(step.before)}" for step in steps)
    return _svg(title, said, max(1, len(steps)) * high, parts)


def intervals(title: str, x_label: str, rows: Sequence[Interval]) -> Markup:
    """A dot and its interval a row."""
    low, high = min(row.low for row in rows), max(row.high for row in rows)
    margin = (high - low) * 0.06 or 0.01
    ticks = nice_ticks(low - margin, high + margin, 5)
    left, step = max(128, 18 + 7 * max(len(row.label) for row in rows)), 26
    bottom = 10 + step * len(rows)

    def x(value: float) -> float:
        return left + (value - low + margin) / (high - low + 2 * margin) * (WIDTH - _RIGHT - left)

    parts, said = [], []
    for tick in ticks:
        parts.append(f'<path class="grid" d="M{_n(x(tick))} 6V{bottom}"/>')
        parts.append(_text(x(tick), bottom + 15, _tick(tick, ticks), "tick middle"))
    for i, row in enumerate(rows):
        y = 10 + step * (i + 0.5)
        says = f"{row.label}: {row.value:.4f}, 95% interval {row.low:.4f} to {row.high:.4f}"
        said.append(says)
        parts.append(_text(left - 10, y + 4, row.label, "name end"))
        parts.append(f'<path class="whisker" d="M{_n(x(row.low))} {_n(y)}H{_n(x(row.high))}"/>')
        parts.append(
            f'<circle class="mean" cx="{_n(x(row.value))}" cy="{_n(y)}" r="4.5"><title>{escape(says)}</title></circle>'
        )
    parts.append(_text((left + WIDTH - _RIGHT) / 2, bottom + 34, x_label, "label middle"))
    return _svg(title, f"{x_label}. {'; '.join(said)}", bottom + 40, parts)


def score_bar(score: float, low: float, high: float, mark: float | None, style: str) -> Markup:
    """A small bar from `low` to the score, on a track that ends at `high`; `mark` is the score it is held against."""
    span = (high - low) or 1.0
    says = f"score {score:.4f}" + (f", held against {mark:.4f}" if mark is not None else "")
    parts = [
        '<rect class="track" width="100" height="8" rx="2"/>',
        f'<rect class="bar {escape(style)}" width="{_n(100 * min(max((score - low) / span, 0.0), 1.0))}" height="8" rx="2"/>',
    ]
    if mark is not None:
        parts.append(f'<path class="mark" d="M{_n(100 * min(max((mark - low) / span, 0.0), 1.0))} -2V10"/>')
    body = "".join(parts)
    return Markup(
        f'<svg class="score" preserveAspectRatio="none" viewBox="-1 -2 102 12" role="img" aria-label="{escape(says)}">{body}</svg>'
    )


def number(value: float) -> str:
    """With thousands apart, and at most three decimals."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.3f}".rstrip("0").rstrip(".")


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers from `low` to `high`: multiples of 1, 2, 2.5 or 5 times a power of ten."""
    raw = (high - low) / max(1, count) or 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    return [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


class _Frame:
    """Axes of a chart: from data to units, and what is drawn around."""

    height = 250

    def __init__(self, x_label: str, y_label: str, x_range: tuple[float, float], y_range: tuple[float, float]) -> None:
        self.x_label, self.y_label, self.x_range = x_label, y_label, x_range
        self.y_ticks = nice_ticks(*y_range, 4)
        step = self.y_ticks[1] - self.y_ticks[0] if len(self.y_ticks) > 1 else y_range[1]
        if self.y_ticks[-1] < y_range[1]:
            self.y_ticks.append(self.y_ticks[-1] + step)
        if self.y_ticks[0] > y_range[0]:
            self.y_ticks.insert(0, self.y_ticks[0] - step)
        self.y_range = (self.y_ticks[0], self.y_ticks[-1])

    def x(self, value: float) -> float:
        low, high = self.x_range
        return _LEFT + (value - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return self.height - _BOTTOM - (value - low) / (high - low) * (self.height - _BOTTOM - _TOP)

    def path(self, xs: np.ndarray, ys: np.ndarray) -> str:
        return "M" + "L".join(f"{_n(self.x(x))} {_n(self.y(y))}" for x, y in zip(xs.tolist(), ys.tolist(), strict=True))

    def axes(self, *, x_ticks: bool = True) -> list[str]:
        left, right, floor = _LEFT, WIDTH - _RIGHT, self.y(self.y_range[0])
        parts = []
        for tick in self.y_ticks:
            parts.append(f'<path class="grid" d="M{left} {_n(self.y(tick))}H{right}"/>')
            parts.append(_text(left - 6, self.y(tick) + 4, _tick(tick, self.y_ticks), "tick end"))
        ticks = nice_ticks(*self.x_range, 6) if x_ticks else []
        for tick in ticks:
            parts.append(f'<path class="axis" d="M{_n(self.x(tick))} {_n(floor)}v4"/>')
            parts.append(_text(self.x(tick), floor + 16, _tick(tick, ticks), "tick middle"))
        parts.append(f'<path class="axis" d="M{left} {_n(floor)}H{right}"/>')
        parts.append(_text((left + right) / 2, self.height - 8, self.x_label, "label middle"))
        middle = (_TOP + floor) / 2
        turned = f'transform="rotate(-90 10 {_n(middle)})"'
        parts.append(f'<text class="label middle" x="10" y="{_n(middle)}" {turned}>{escape(self.y_label)}</text>')
        return parts


def _legend(series: Sequence[Series]) -> Iterable[str]:
    x = float(_LEFT)
    for s in series:
        yield f'<path class="outline {escape(s.style)}" d="M{_n(x)} 12h18"/>'
        yield _text(x + 23, 16, s.label, "tick")
        x += 44 + 7 * len(s.label)


def _tick(value: float, ticks: Sequence[float]) -> str:
    step = abs(ticks[1] - ticks[0]) if len(ticks) > 1 else abs(value) or 1.0
    decimals = next((d for d in range(9) if math.isclose(step * 10**d, round(step * 10**d), rel_tol=1e-6)), 9)
    if max(map(abs, ticks)) >= 1e6:
        return f"{value / 1e6 + 0.0:,g}M"
    return f"{value + 0.0:,.{decimals}f}"


def _text(x: float, y: float, says: str, style: str) -> str:
    return f'<text class="{style}" x="{_n(x)}" y="{_n(y)}">{escape(says)}</text>'


def _n(value: float) -> str:
    return f"{value + 0.0:.1f}".removesuffix(".0")


def _value(edges: np.ndarray, place: int) -> str:
    return number(float(edges[place]))


def _svg(title: str, said: str, height: float, parts: Iterable[str]) -> Markup:
    """`said` is what the chart shows, in words, for those who do not see it."""
    body = f"<desc>{escape(said)}</desc>{''.join(parts)}"
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {_n(height)}" role="img" aria-label="{escape(title)}">{body}</svg>'
    )
