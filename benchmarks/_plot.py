"""Bars as SVG, without a library: some panels, in each of them groups of bars by what stands below them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, MARGIN, COLUMNS = 380, 200, 44, 2
COLOURS = ("#9aa5b1", "#2f7ed8", "#1b9e5a", "#d95f02")


@dataclass(frozen=True)
class Panel:
    """`bars`: by the name of the series, a value for each of `groups`."""

    title: str
    groups: Sequence[str]
    bars: Mapping[str, Sequence[float]]


def svg(panels: Sequence[Panel]) -> str:
    rows = -(-len(panels) // COLUMNS)
    size = COLUMNS * (WIDTH + MARGIN), rows * (HEIGHT + 2 * MARGIN) + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}">',
        "<style>text { font: 12px sans-serif; fill: #222 } .small { font-size: 10px }</style>",
        f'<rect width="{size[0]}" height="{size[1]}" fill="#fff"/>',
    ]
    names = list(dict.fromkeys(name for panel in panels for name in panel.bars))
    for place, name in enumerate(names):
        left = MARGIN + place * 150
        parts.append(f'<rect x="{left}" y="14" width="12" height="12" fill="{COLOURS[place]}"/>')
        parts.append(f'<text x="{left + 18}" y="24">{escape(name)}</text>')
    for place, panel in enumerate(panels):
        left = MARGIN / 2 + place % COLUMNS * (WIDTH + MARGIN)
        top = 2 * MARGIN + place // COLUMNS * (HEIGHT + 2 * MARGIN)
        parts.append(f'<g transform="translate({left:g} {top:g})">{"".join(_panel(panel, names))}</g>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Panel, names: Sequence[str]) -> list[str]:
    most = max((value for values in panel.bars.values() for value in values), default=0) or 1
    step = WIDTH / max(len(panel.groups), 1)
    wide = 0.8 * step / max(len(panel.bars), 1)
    parts = [
        f'<text y="-22" font-weight="bold">{escape(panel.title)}</text>',
        f'<path d="M0 {HEIGHT}H{WIDTH}" stroke="#222"/>',
    ]
    for place, group in enumerate(panel.groups):
        parts.append(_text(step * (place + 0.5), HEIGHT + 16, group))
        for number, (name, values) in enumerate(panel.bars.items()):
            left, high = step * (place + 0.1) + number * wide, HEIGHT * values[place] / most
            colour = COLOURS[names.index(name)]
            top = HEIGHT - high
            parts.append(f'<rect x="{left:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{high:.1f}" fill="{colour}"/>')
            parts.append(
                _text(left + wide / 2, top - 4, f"{values[place]:,.3g}" if most < 100 else f"{values[place]:,.0f}")
            )
    return parts


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" class="small">{escape(text)}</text>'
