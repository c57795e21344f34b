import pytest

from servekit.layers.root_path import RootPathMiddleware
from tests.asgi import answers, call, foreign, passed


async def places(path="/items", fields=(), hops=1, root_path="", **changes):
    layer = RootPathMiddleware(answers(), root_path=root_path, hops=hops)
    headers = [("x-forwarded-prefix", field) for field in fields]
    scope = (await call(layer, path, headers=headers, **changes)).scope
    return scope["root_path"], scope["path"], scope["raw_path"]


@pytest.mark.parametrize("path", ["/items", "/shop/items"])
async def test_a_front_may_strip_the_prefix_or_not(path):
    there = ("/shop", "/shop/items", b"/shop/items")
    assert await places(path, root_path="/shop") == there
    assert await places(path, ["/shop"]) == there


async def test_a_path_that_only_begins_alike_is_not_below_the_prefix():
    assert (await places("/shopping", root_path="/shop"))[1] == "/shop/shopping"


@pytest.mark.parametrize(
    ("hops", "fields", "prefix"),
    [
        (1, ["/a"], "/a"),
        (1, ["/evil, /a"], "/a"),
        (1, ["/evil", "/a"], "/a"),
        (2, ["/a, /b"], "/a/b"),
        (2, ["/evil", "/a/", "/b/"], "/a/b"),
        (3, ["/a"], "/a"),
        (1, ["/"], ""),
        (0, ["/a"], ""),
    ],
)
async def test_prefixes_of_trusted_proxies_alone_are_believed(hops, fields, prefix):
    found, path, _ = await places("/items", fields, hops)
    assert (found, path) == (prefix, f"{prefix}/items")


@pytest.mark.parametrize(
    "field",
    ["//evil.example", "https://evil.example", "/a//b", "/a/../b", "/a?b", "/'+alert(1)+'", "/é"],
)
async def test_what_would_lead_elsewhere_is_no_prefix(field):
    assert await places("/items", [field]) == ("", "/items", b"/items")
    assert await places("/items", [field], root_path="/shop") == (
        ("/shop", "/shop/items", b"/shop/items")
    )


async def test_the_front_knows_better_than_the_setting_and_the_server():
    assert (await places("/items", ["/a"], root_path="/b"))[0] == "/a"
    scope = (await call(RootPathMiddleware(answers(), root_path="/b"), root_path="/c/")).scope
    assert (scope["root_path"], scope["path"]) == ("/c", "/c/")


async def test_the_asterisk_has_no_prefix():
    assert (await places("*", root_path="/shop"))[1] == "*"


async def test_other_scopes_pass():
    assert await passed(
        RootPathMiddleware(foreign, root_path="/shop", hops=1), {"type": "lifespan"}
    )
