"""The committed table: which tests may end otherwise through us, and why."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True)
class Deviation:
    """Tests of some suites that may fail, by pattern, for one reason."""

    suites: frozenset[str]
    reason: str
    tests: tuple[str, ...]


def read_table() -> list[Deviation]:
    """Return the table."""
    return [
        Deviation(frozenset(one["suites"]), one["reason"], tuple(one["tests"]))
        for one in tomllib.loads(TABLE.read_text()).get("deviation", ())
    ]


def matches(pattern: str, test: str) -> bool:
    """Return whether a pattern, in which only `*` has a meaning, is that of a test."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), test) is not None


def explain(
    suite: str, deviating: list[str], table: list[Deviation]
) -> tuple[dict[str, list[str]], list[str], list[str]]:
    """Return tests by the reason why they deviate, tests without one, and patterns of no test."""
    reasons: dict[str, list[str]] = {}
    unexplained = set(deviating)
    idle = []
    for entry in table:
        for pattern in entry.tests if suite in entry.suites else ():
            found = [test for test in deviating if matches(pattern, test)]
            if not found:
                idle.append(pattern)
            reasons.setdefault(entry.reason, []).extend(found)
            unexplained.difference_update(found)
    return reasons, sorted(unexplained), idle
