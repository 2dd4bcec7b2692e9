"""Load over time as an SVG that is readable on light and dark pages, without a dependency."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT, LEFT, RIGHT, TOP = 860, 210, 76, 34, 62
STYLE = """
  svg { font: 13px system-ui, sans-serif }
  .page { fill: #ffffff } text { fill: #24292f } .soft { fill: #57606a }
  .grid { stroke: #d0d7de; stroke-width: 1 } .down { fill: #d0d7de; opacity: .55 }
  .s0 { fill: #d1570b } .s1 { fill: #0969da }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 } text { fill: #e6edf3 } .soft { fill: #9198a1 }
    .grid { stroke: #30363d } .down { fill: #3d444d }
    .s0 { fill: #f0883e } .s1 { fill: #58a6ff }
  }
"""


@dataclass(frozen=True)
class Panel:
    """One diagram.

    Attributes:
        title: what it shows, with the unit of the logarithmic axis.
        axis: what the hours are counted from.
        series: events in each minute, by the name of the series; the first lies behind.
        hours: the first and the last hour that are shown.
        step: hours between two marks.
        down: from which hour to which the issuer is down, or None.
    """

    title: str
    axis: str
    series: Mapping[str, Sequence[int]]
    hours: tuple[float, float]
    step: float
    down: tuple[float, float] | None = None


def drawn(panels: Sequence[Panel]) -> str:
    """Return the panels, one below the other, as SVG."""
    pitch = HEIGHT + TOP + 54
    body = "".join(_panel(one, number * pitch + TOP) for number, one in enumerate(panels))
    size = f'viewBox="0 0 {WIDTH} {len(panels) * pitch + 10}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n<style>{STYLE}</style>\n'
        f'<rect class="page" width="100%" height="100%"/>\n{body}</svg>\n'
    )


def _panel(panel: Panel, top: int) -> str:
    first, last = panel.hours
    across = (WIDTH - LEFT - RIGHT) / (last - first)
    decades = math.ceil(math.log10(max(map(max, panel.series.values()))))
    bottom = top + HEIGHT

    def x(hour: float) -> float:
        return LEFT + (hour - first) * across

    def y(count: float) -> float:  # a decade more, so that a single one is seen
        return bottom - HEIGHT * (math.log10(count) + 0.3) / (decades + 0.3) if count else bottom

    out = [f'<text x="{LEFT}" y="{top - 38}" font-weight="600">{panel.title}</text>']
    if panel.down:
        start, end = map(x, panel.down)
        out.append(
            f'<rect class="down" x="{start:.1f}" y="{top}" width="{end - start:.1f}" '
            f'height="{HEIGHT}"/><text class="soft" text-anchor="middle" '
            f'x="{(start + end) / 2:.1f}" y="{top + 16}">issuer down</text>'
        )
    for count in (10**n for n in range(decades + 1)):
        out.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(count):.1f}" '
            f'y2="{y(count):.1f}"/><text class="soft" text-anchor="end" x="{LEFT - 8}" '
            f'y="{y(count) + 4:.1f}">{count:,}</text>'
        )
    for number in range(int((last - first) / panel.step) + 1):
        hour = first + number * panel.step
        out.append(
            f'<text class="soft" text-anchor="middle" x="{x(hour):.1f}" y="{bottom + 18}">'
            f"{hour:g} h</text>"
        )
    out.append(
        f'<text class="soft" text-anchor="middle" x="{(LEFT + WIDTH - RIGHT) / 2}" '
        f'y="{bottom + 38}">{panel.axis}</text>'
    )
    for number, (name, minutes) in enumerate(panel.series.items()):
        width = max(across / 60, 1.2)
        bars = "".join(
            f"M{x(minute / 60):.1f} {bottom}V{y(count):.1f}h{width:.1f}V{bottom}z"
            for minute, count in enumerate(minutes)
            if count and first <= minute / 60 < last
        )
        at = LEFT + 160 * number
        out.append(
            f'<path class="s{number}" d="{bars}"/><rect class="s{number}" x="{at}" '
            f'y="{top - 25}" width="12" height="12"/><text x="{at + 18}" y="{top - 14}">{name}'
            f"</text>"
        )
    return "\n".join(out) + "\n"
