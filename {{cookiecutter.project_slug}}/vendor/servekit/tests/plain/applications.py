"""Each application shows ways in which FastAPI lets users put something around routes."""

import os
from collections.abc import Callable

from fastapi import FastAPI

from servekit import Service, Settings

from .around import dependencies, handlers, layers, lifespans
from .asks import Ask, Talk
from .inside import answers, flows, mounted, rooted


def create_app(settings: Settings) -> FastAPI:
    app = APPLICATIONS[os.environ["APPLICATION"]]()
    Service(settings).install(app)
    return app


KEY = {"x-key": "good"}

APPLICATIONS: dict[str, Callable[[], FastAPI]] = {
    make.__name__: make
    for make in (layers, handlers, dependencies, lifespans, answers, rooted, mounted, flows)
}

ASKS: dict[str, list[Ask | Talk]] = {
    "layers": [
        Ask(),
        Ask("/teapot"),
        Ask("/closed-by-inner"),
        Ask("/closed-by-outer"),
        Ask("/", headers={"origin": "https://a.example"}),
        Ask("/", "POST", headers={"origin": "https://a.example", "sec-fetch-site": "cross-site"}),
        Ask("/nowhere", status_only=True),
        Ask("/broken", status_only=True),
    ],
    "handlers": [
        Ask("/raise/own"),
        Ask("/raise/http"),
        Ask("/raise/any"),
        Ask("/numbers/1"),
        Ask("/numbers/x"),
        Ask("/nowhere"),
        Ask("/numbers/1", "POST", status_only=True),
    ],
    "dependencies": [
        Ask("/", headers=KEY),
        Ask("/", status_only=True),
        Ask("/inner/", headers=KEY),
        Ask("/inner/", status_only=True),
        Ask("/word", headers=KEY),
        Ask("/lent", headers=KEY),
    ],
    "lifespans": [Ask()],
    "answers": [
        Ask(),
        Ask("/loud"),
        Ask("/items", "POST", json={"name": "a"}),
        Ask("/items", "POST", json={"name": 1}, status_only=True),
        Ask("/items", "GET", status_only=True),
        Ask("/moved"),
        Ask("/", "HEAD", status_only=True),
    ],
    "rooted": [Ask("/where"), Ask("/api/where"), Ask("/folder"), Ask("/folder/")],
    "mounted": [
        Ask("/inner/own", headers=KEY),
        Ask("/inner/where", headers=KEY),
        Ask("/inner/where", status_only=True),
        Ask("/inner/nowhere", headers=KEY, status_only=True),
        Ask("/raw/a/b"),
        Talk("/inner/echo", ("a",), headers=KEY),
        Talk("/inner/echo", ("a",)),
    ],
    "flows": [
        Ask("/stream"),
        Ask("/blocking-stream"),
        Ask("/note/a", "POST"),
        Ask("/noted", until='["a"]'),
        Talk("/echo/ada", ("one", "two", "bye")),
        Talk("/refuse"),
        Talk("/nowhere"),
    ],
}
