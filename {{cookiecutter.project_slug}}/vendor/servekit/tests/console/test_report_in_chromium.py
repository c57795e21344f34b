"""The doctor's page in a real browser: both of its pictures can be looked into, one at a time."""

import pytest

from servekit.diagnosis import report
from servekit.diagnosis.stacks import IDLE, Frame, Profile
from tests.console.chromium import Page, needs_chromium

pytestmark = needs_chromium
PICTURES = "[...document.querySelectorAll('.picture')]"
RUN = Frame("run", "/x/site-packages/loop.py", 1)


@pytest.fixture
async def page(tmp_path):
    profile = Profile()
    pay, count = Frame("pay", "/srv/shop/orders.py", 12), Frame("count", "/srv/shop/stock.py", 3)
    profile.stacks.update({(RUN, pay): 30, (RUN, count): 10, (Frame(IDLE),): 60})
    profile.waits[Frame("/buy"), pay, Frame("sleep", "/usr/lib/python3.11/asyncio/t.py", 9)] = 700
    profile.waits[Frame("/stock"), count] = 300
    seen = {"verdicts": [], "windows": [], "cannot_judge": [], "not_judged": ""}
    sampled = {"wanted": {"seconds": 5}, "failures": []}
    file = tmp_path / "report.html"
    file.write_text(report.page(seen | {"sampled": sampled}, {"0": profile}))
    async with Page() as page:
        await page.do("Emulation.setFocusEmulationEnabled", enabled=True)
        await page.open(file.as_uri())
        yield page
        assert page.complaints == []
        assert page.requests == [file.as_uri()]


async def bars(page):
    shown = ".map(one => [...one.querySelectorAll('.graph button')].map(bar => bar.textContent))"
    return await page.value(PICTURES + shown)


async def choose(page, picture, name):
    found = f"{PICTURES}[{picture}].querySelectorAll('.graph button')"
    await page.value(f"[...{found}].find(bar => bar.textContent === '{name}').click()")


async def test_what_the_loops_did_and_where_requests_waited_are_looked_into_apart(page):
    assert await bars(page) == [
        ["event loop", "pay", "count"],
        ["requests", "/buy", "pay", "sleep", "/stock", "count"],
    ]
    await choose(page, 1, "/stock")
    assert await bars(page) == [
        ["event loop", "pay", "count"],
        ["requests", "/stock", "count"],
    ]
    details = await page.value(f"{PICTURES}.map(one => one.querySelector('.detail').textContent)")
    assert details == [
        "Choose a function to look closer; Escape shows all.",
        "/stock: 30.0 %, 300 ms",
    ]
    await page.press("Escape")
    assert len((await bars(page))[1]) == 6
    focused = "document.activeElement.closest('.picture') === " + f"{PICTURES}[1]"
    assert await page.value(focused)


async def test_what_is_sought_in_one_picture_is_sought_there(page):
    await page.value(
        f"(() => {{ const input = {PICTURES}[0].querySelector('input'); input.value = 'stock.py';"
        " input.dispatchEvent(new Event('input')); })()"
    )
    sought = ".map(one => [...one.querySelectorAll('.sought')].map(bar => bar.textContent))"
    assert await page.value(PICTURES + sought) == [["count"], []]
    found = await page.value(f"{PICTURES}.map(one => one.querySelector('output').textContent)")
    assert found == ["on 25.0 % of the whole", ""]
    await page.value(f"{PICTURES}[0].querySelector('[type=reset]').click()")
    await page.until(f"({PICTURES + sought})[0].length === 0")
    assert await page.value(f"{PICTURES}[0].querySelector('output').textContent") == ""
