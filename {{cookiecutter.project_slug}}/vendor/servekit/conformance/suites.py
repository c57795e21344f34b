"""What is run: whose tests, which of them, and how they go through us."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Suite:
    """Tests of one project; `through` and `plain` are plugins of pytest, loaded in one of the runs.

    `least` is the share of what passes without us that has to pass through us.
    """

    name: str
    title: str
    project: str
    paths: tuple[str, ...]
    through: tuple[str, ...]
    least: float
    plain: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


SUITES = {
    suite.name: suite
    for suite in (
        Suite(
            "fastapi",
            "FastAPI's tests, through compiled routes and layers",
            project="fastapi",
            paths=("tests",),
            through=("conformance.installed",),
            least=0.999,
        ),
        Suite(
            "fastapi-tcp",
            "The same over TCP, through the front door too",
            project="fastapi",
            paths=("tests",),
            through=("conformance.installed", "conformance.tcp", "conformance.front_door"),
            plain=("conformance.tcp",),
            least=0.999,
        ),
        Suite(
            "starlette",
            "Starlette's tests, through the layers",
            project="starlette",
            paths=(
                *(
                    f"tests/test_{name}.py"
                    for name in ("responses", "requests", "routing", "websockets", "background")
                ),
                "tests/test_staticfiles.py",
                "tests/middleware",
            ),
            through=("conformance.layered",),
            least=0.99,
            options=("-k", "not trio"),  # half of them, once more: workers run on asyncio
        ),
        Suite(
            "uvicorn",
            "uvicorn's tests of its protocols, through the front door",
            project="uvicorn",
            paths=("tests/protocols/test_http.py", "tests/protocols/test_websocket.py"),
            through=("conformance.front_door",),
            least=0.94,  # one deviation on purpose, heads that HTTP forbids, is twenty of the tests
        ),
    )
}
