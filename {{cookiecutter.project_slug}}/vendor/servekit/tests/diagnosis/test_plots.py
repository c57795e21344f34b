"""Drawings of a report: every worker's line, the limits of the rules, and no word as markup."""

import re
from xml.etree import ElementTree as ET

import pytest

from servekit.diagnosis.plots import PLOTS, drawing, plots
from servekit.diagnosis.readings import STALLED, Window
from tests.diagnosis.windows import seconds_of


def drawn(html):
    """Return the pictures of figures: XML, as they are written."""
    return ET.fromstring(f"<all>{html}</all>")


@pytest.mark.parametrize("workers", [1, 2, 9])
def test_every_worker_has_a_line_in_every_drawing(workers):
    windows = seconds_of(workers=workers)
    for plot in PLOTS:
        root = drawn(drawing(plot, windows))
        titles = [title.text for title in root.iter("title")]
        assert titles == [f"worker {number}" for number in range(workers)]
        points = [path.get("d", "").count("L") for path in root.iter("path") if len(path)]
        assert points == [9] * workers


def test_a_line_crosses_the_limit_where_the_rule_begins():
    for share, above in ((0.09, False), (0.11, True)):
        root = drawn(drawing(PLOTS[0], seconds_of({STALLED: share}, workers=1)))
        [limit] = [path for path in root.iter("path") if path.get("class") == "limit"]
        [line] = [path for path in root.iter("path") if len(path)]
        [at] = re.findall(r" ([\d.]+)H", limit.get("d", ""))
        first = re.findall(r" ([\d.]+)L", line.get("d", ""))[0]
        assert (float(first) < float(at)) is above  # downwards, as pictures count


def test_names_of_workers_are_text():
    windows = [Window("<b>&", 1.0, 1.0, {}), Window("<b>&", 2.0, 1.0, {})]
    assert "<b>" not in plots(windows)
    drawn(plots(windows))


def test_without_windows_nothing_is_drawn():
    assert plots([]) == ""
