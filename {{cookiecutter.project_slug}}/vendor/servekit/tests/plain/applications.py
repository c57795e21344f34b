"""Each application shows ways in which FastAPI lets users put something around routes."""

import os
from collections.abc import Callable

from fastapi import FastAPI

from servekit import Service, Settings

from .around import dependencies, handlers, layers, lifespans
from .asks import Ask, Talk
from .guide import bodies, parameters, security
from .guide_answers import around_a_route, kinds, models
from .inside import answers, flows, mounted, rooted


def create_app(settings: Settings) -> FastAPI:
    app = APPLICATIONS[os.environ["APPLICATION"]]()
    Service(settings).install(app)
    return app


KEY = {"x-key": "good"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
MULTIPART = {"content-type": "multipart/form-data; boundary=b"}
DISPOSITION = 'content-disposition: form-data; name="{0}"; filename="{0}.txt"'
PARTS = [f"--b\r\n{DISPOSITION.format(name)}\r\n\r\n{name}\r\n" for name in ("file", "raw")]
UPLOAD = "".join(PARTS) + "--b--\r\n"

APPLICATIONS: dict[str, Callable[[], FastAPI]] = {
    make.__name__: make
    for make in (
        *(layers, handlers, dependencies, lifespans, answers, rooted, mounted, flows),
        *(parameters, bodies, security, models, kinds, around_a_route),
    )
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
    "rooted": [Ask("/where"), Ask("/api/where"), Ask("/folder", status_only=True), Ask("/folder/")],
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
    "parameters": [
        Ask("/sizes/small?wanted=yes"),
        Ask("/sizes/none", status_only=True),
        Ask("/files/a/b%20c/"),
        Ask("/numbers/1?q=ab&m=1&m=2"),
        Ask("/numbers/0?q=b&m=x", status_only=True),
        Ask("/aliased/3"),
        Ask("/places/1/2"),
        Ask("/places/1/-2", status_only=True),
        Ask("/filtered?limit=5&tags=a&tags=b"),
        Ask("/filtered?other=1", status_only=True),
        Ask("/headers", headers={"x-token": "a", "cookie": "taste=salt"}),
        Ask("/types/12345678123456781234567812345678?at=2026-01-01T00:00&wait=P1D"),
        Ask("/openapi.json"),
        Ask("/docs"),
    ],
    "bodies": [
        Ask("/two?note=n", "PUT", json={"place": {"x": 1}, "size": "small"}),
        Ask("/two", "PUT", json={"x": 1}, status_only=True),
        Ask("/embedded", "PUT", json={"place": {"x": "2"}}),
        Ask("/part", "PATCH", json={"x": 3}),
        Ask("/form", "POST", headers=FORM, content="name=a%20b&age=4"),
        Ask("/form", "POST", headers=FORM, content="age=x", status_only=True),
        Ask("/upload", "POST", headers=MULTIPART, content=UPLOAD),
        Ask("/raw", "POST", content="x" * 1_100_000),
        Ask("/unlabelled"),
        Ask("/openapi.json"),
    ],
    "security": [
        Ask("/counted"),
        Ask("/basic", headers={"authorization": "Basic YTpi"}),
        Ask("/basic", status_only=True),
        Ask("/key", headers={"x-key": "k"}),
        Ask("/key", status_only=True),
        Ask("/bearer", headers={"authorization": "Bearer t"}),
        Ask("/bearer", headers={"authorization": "Basic t"}, status_only=True),
        Ask("/token", "POST", headers=FORM, content="username=a&password=b&scope=read+write"),
        Ask("/write", headers={"authorization": "Bearer read+write"}),
        Ask("/write", headers={"authorization": "Bearer read"}, status_only=True),
        Ask("/write", status_only=True),
        Ask("/openapi.json"),
    ],
    "models": [
        Ask("/plane"),
        Ask("/either/car"),
        Ask("/either/plane"),
        Ask("/set"),
        Ask("/broken", status_only=True),
        Ask("/untyped"),
        Ask("/encoded"),
        Ask("/documented"),
        Ask("/openapi.json"),
    ],
    "kinds": [
        Ask("/nothing", "DELETE"),
        Ask("/page"),
        Ask("/moved"),
        Ask("/file"),
        Ask("/file", headers={"range": "bytes=0-3"}),
        Ask("/static/asks.py"),
        Ask("/static/none", status_only=True),
        Ask("/endpoint"),
        Ask("/endpoint", "POST", status_only=True),
        Ask("/lines"),
        Ask("/cookies"),
        Ask("/teapot", status_only=True),
    ],
    "around_a_route": [
        Ask("/lent"),
        Ask("/said", until='["opened","later","closed"]'),
        Ask("/failing", status_only=True),
        Ask("/said", until='["opened","failed","closed"]'),
        Ask("/early"),
        Ask("/said"),
    ],
}
