"""What is kept for instant answers is bounded, and counted where it is kept with a page."""

from fastapi import Depends, Response

from servekit.cache import cache_response
from servekit.response_cache import instant as module
from tests.response_cache.both_ways import both, get, make_app


async def test_what_is_remembered_of_targets_is_bounded(make_settings, monkeypatch):
    monkeypatch.setattr(module, "PLACES_MAX", 10)
    monkeypatch.setattr(module, "VARIANTS_MAX", 3)
    async with both(make_settings, allowed_hosts=["*"]) as one:
        for number in range(20):
            await one.asked_often(b"/pages/1?unknown=%d" % number)
            for _ in range(3):
                await one.ask(get().replace(b"localhost", b"host-%d" % number))
        remembered = one.service.instant.targets.values()
        assert sum(map(len, remembered)) == 10
        assert max(map(len, remembered)) <= 3
        assert one.instants >= 20


async def test_what_a_kept_head_takes_is_counted(make_settings):
    app = make_app()

    @app.get("/linked", dependencies=[Depends(cache_response(ttl_seconds=60))])
    async def linked(response: Response) -> str:
        response.headers["link"] = ", ".join(f"</{number}>; rel=preload" for number in range(400))
        return "linked"

    async with both(make_settings, app) as one:
        await one.asked_often(b"/linked")
        [place] = one.service.instant.targets[b"/linked"].values()
        entry = place.cached.local_entry(place.key)
        assert entry is not None
        page = entry.value
        fields = sum(len(name) + len(value) for name, value in page.headers)
        assert entry.size > len(page.body) + fields + len(page.head)


async def test_long_names_are_not_remembered_and_strange_ones_give_way(make_settings):
    async with both(make_settings) as one:
        await one.asked_often(b"/html?" + b"x" * 600)
        await one.asked_often(b"/html", b"accept-encoding: " + b"x;q=0, " * 100)
        assert one.instants == 0
        for number in range(20):
            await one.asked_often(b"/html", b"accept-encoding: junk%d" % number)
        before = one.instants
        await one.asked_often(b"/html", b"accept-encoding: gzip")
        assert one.instants > before
