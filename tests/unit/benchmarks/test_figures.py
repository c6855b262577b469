"""A figure says whether it holds, a page takes what was measured, and bars are as high as their values."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks._figures import Figure, as_table, lines, write
from benchmarks._plot import HEIGHT, Panel, svg


@pytest.mark.parametrize(
    ("measured", "more", "said"),
    [
        (0.69, True, "MISSED"),
        (0.70, True, "held"),
        (0.90, True, "aim reached"),
        (0.90, False, "MISSED"),
        (0.80, False, "aim reached"),
        (None, True, "not measured"),
    ],
)
def test_a_figure_says_whether_it_holds(measured: float | None, more: bool, said: str) -> None:
    limits = (0.70, 0.85) if more else (0.85, 0.80)
    assert said in str(Figure("chat", *limits, measured, "%", more=more))


def test_figures_become_a_table() -> None:
    head, rule, row, *_ = as_table(lines([Figure("idle PSS", 150, 120, 130.04, "MB")])).splitlines()
    assert head == "| figure | must | aim | measured |"
    assert rule == "|---|---|---|---|"
    assert row == "| idle PSS | 150 MB | 120 MB | 130 MB (held) |"


def test_a_page_takes_what_was_measured_between_its_comments(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- gateway -->\nold\n<!-- /gateway -->\nafter\n")
    write(page, "gateway", "new")
    write(page, "gateway", "newer\n")
    assert page.read_text() == "before\n<!-- gateway -->\nnewer\n<!-- /gateway -->\nafter\n"


def test_a_page_without_the_comments_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- gateway -->\nold\n")
    with pytest.raises(ValueError, match="/gateway"):
        write(page, "gateway", "new")
    assert page.read_text() == "before\n<!-- gateway -->\nold\n"


def test_bars_are_as_high_as_their_values() -> None:
    drawn = svg([Panel("chats & more", ["1", "64"], {"floor": [100, 50], "ours": [25, 0]})])
    ElementTree.fromstring(drawn)
    assert "chats &amp; more" in drawn
    heights = [float(height) for height in re.findall(r'height="([\d.]+)" fill="#(?:9aa5b1|2f7ed8)"', drawn)]
    assert heights[2:] == [HEIGHT, HEIGHT / 4, HEIGHT / 2, 0]
