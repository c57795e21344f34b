"""The page of a profile stands alone: no other file, no other host; names in it are text."""

import json
import re

from servekit.diagnosis import report
from servekit.diagnosis.flame_graph import View, digest, flame_graph
from servekit.diagnosis.stacks import IDLE, Frame, Profile

PAY = Frame("<script>alert(1)</script>", "/srv/</script>.py", 3)


def page() -> str:
    profile = Profile()
    dumps = Frame("dumps", "/x/site-packages/j.py", 1)
    profile.stacks.update({(PAY, dumps): 3, (dumps,): 1, (Frame(IDLE),): 1})
    return flame_graph((profile, View("a & b")), told="10 s")


def test_its_policy_allows_its_own_script_and_style_and_nothing_else():
    text = page()
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    [style] = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    [script] = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)

    assert policy == (f"default-src 'none'; script-src {digest(script)}; style-src {digest(style)}")
    assert not re.search(r"""(src|href)=|url\(|https?:""", text)


def test_names_of_functions_are_text():
    text = page()
    assert "alert(1)</script>" not in text
    [data] = re.findall(r'"application/json">(.*?)</script>', text, re.DOTALL)
    assert json.loads(data)["frames"][1] == [PAY.name, PAY.place, "own"]


def test_the_tables_say_what_the_picture_shows():
    text = page()
    assert "Busy: 80.0% of the samples" in text
    assert "<tr><td>75.0%<td>3<td>&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_nothing_is_left_of_the_template():
    assert "<!--" not in page()


def test_what_requests_waited_for_stands_below_what_the_loops_did():
    stall, wait = Profile(), Profile()
    stall.stacks[PAY,] = 3
    wait.waits[Frame("/buy"), Frame("ask", "/srv/shop.py", 4), Frame("(holds <it>)")] = 700
    seen = {"verdicts": [], "windows": [], "cannot_judge": [], "not_judged": ""}
    sampled = {"wanted": {"seconds": 5}, "failures": []}
    text = report.page(seen | {"sampled": sampled}, {"0": stall, "1": wait})
    _, loops, requests = text.split('<section class="picture">')
    assert "<h1>Doctor: 0 causes found</h1>" in text
    assert "<h2>Where the event loops spend their time</h2>" in loops
    assert "/srv/&lt;/script&gt;.py:3" in loops
    assert "<h2>Where requests wait</h2>" in requests
    assert "<tr><td>100.0%<td>700<td>ask<td>/srv/shop.py:4" in requests
    assert "<td>(holds &lt;it&gt;)" in requests
    assert len(re.findall(r"<script>", text)) == 1
