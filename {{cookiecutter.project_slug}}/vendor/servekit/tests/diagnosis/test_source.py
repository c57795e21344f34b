"""What the source says about lines that were seen."""

from collections import Counter

from servekit.diagnosis.source import facts, same_lock
from servekit.diagnosis.stacks import Frame, Profile

SHOP = """
import asyncio

class Stock:
    async def level(self):
        async with self._guard:
            return 1

    async def refresh(self):
        async with (
            self._guard, other,
        ):
            await self._load()
        await self._done()

    async def watch(self):
        await asyncio.sleep(1)

    def follow(self):
        asyncio.create_task(self.watch())
        asyncio.create_task(self.level())
        self.watch()
        asyncio.run(self.watch())
"""


def seen(tmp_path, *lines):
    """Return frames of the file at lines with these texts."""
    (tmp_path / "shop.py").write_text(SHOP)
    texts = [line.strip() for line in SHOP.splitlines()]
    return [
        Frame(name, f"{tmp_path}/shop.py", texts.index(text) + 1)
        for name, text in (line.split(" ", 1) for line in lines)
    ]


def test_what_is_entered_around_a_line_is_known(tmp_path):
    asks, has, after = frames = seen(
        tmp_path,
        "Stock.level async with self._guard:",
        "Stock.refresh await self._load()",
        "Stock.refresh await self._done()",
    )
    profile = Profile(waits=Counter({(Frame("/"), frame): 1 for frame in frames}))
    within = facts([profile])["within"]
    assert within == {asks.place: ["self._guard"], has.place: ["self._guard", "other"]}
    assert same_lock(asks, has, within)
    assert not same_lock(asks, after, within)
    assert not same_lock(asks, Frame("Price.refresh", has.file, has.line), within)


def test_where_tasks_are_started_is_known(tmp_path):
    begin, start = seen(
        tmp_path, "Stock.watch async def watch(self):", "x asyncio.create_task(self.watch())"
    )
    found = facts([Profile(tasks=Counter({begin: 3}))])
    assert found == {"within": {}, "started": {"Stock.watch": [start.place]}}


def test_without_the_file_nothing_is_said(tmp_path):
    gone = Frame("f", f"{tmp_path}/gone.py", 3)
    profile = Profile(waits=Counter({(Frame("/"), gone): 1}), tasks=Counter({gone: 1}))
    assert facts([profile]) == {"within": {}, "started": {}}
