"""A plugin of pytest that writes down how each test ended, and how much went through us."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Iterator
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

FILE = "CONFORMANCE_OUTCOMES"
PASSED = "conformance: passed through"

passed_through = {"count": 0}
"""How often something passed through us in this process; the plugins that put us there count."""


class Counted:
    """Stands around our layers and counts what passes them."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        passed_through["count"] += 1
        return self.app(scope, receive, send)


class Outcomes:
    """Collects the outcomes; with xdist, in the process that hands out the tests."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.tests: dict[str, str] = {}
        self.messages: dict[str, str] = {}
        self.through = 0
        """How many tests had something pass through us."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the worst of a test's phases."""
        known = self.tests.get(report.nodeid)
        if report.failed:
            self.tests[report.nodeid] = "failed"
            crash = getattr(report.longrepr, "reprcrash", None)
            self.messages.setdefault(report.nodeid, first_line(getattr(crash, "message", "")))
        elif known is None or report.skipped:
            self.tests[report.nodeid] = "skipped" if report.skipped else "passed"
        if report.when == "teardown":
            self.through += (PASSED, True) in report.user_properties

    def pytest_sessionfinish(self) -> None:
        """Write it all down."""
        found = {
            "tests": self.tests,
            "messages": self.messages,
            "through": self.through,
        }
        self.file.write_text(json.dumps(found))


def first_line(text: str) -> str:
    """Return the first line of a failure."""
    return text.split("\n", 1)[0][:160]


def pytest_configure(config: pytest.Config) -> None:
    """Collect where the tests are handed out."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Outcomes(Path(os.environ[FILE])))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Note with a test how often something passed through us."""
    before = passed_through["count"]
    try:
        yield
    finally:
        item.user_properties.append((PASSED, passed_through["count"] > before))
