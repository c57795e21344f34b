"""What a case found, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from chaos.targets import Target

Value = float | str
Verdict = Literal["passed", "cannot judge", "failed"]

scale = 1.0
"""How many times slower than the reference the machine is; `main` sets it."""


@dataclass(frozen=True)
class Figure:
    """One measured value, what it had to be and whether it was."""

    name: str
    value: Value
    limit: str
    passed: bool
    timed: bool = False
    """Whether a machine that others use may be the reason for a failure: times, rates, overload."""


Run = Callable[[Target], Awaitable[list[Figure]]]


@dataclass(frozen=True)
class Case:
    """A promise: its number on the scorecard, and what measures it on a target."""

    number: int
    title: str
    run: Run
    compared: bool = True
    own_app: bool = False
    looks_at: int = 0
    """The case whose run it looks at, and so the noise of that."""


CASES: dict[int, Case] = {}


def case(
    number: int, title: str, *, compared: bool = True, own_app: bool = False, looks_at: int = 0
) -> Callable[[Run], Run]:
    """Register a case; `compared=False` where the plain service has nothing to compare.

    `own_app=True` where it asks for more than the routes of chaos: for users, logins, products.
    `looks_at` is the case whose run it looks at again.
    """

    def register(run: Run) -> Run:
        CASES[number] = Case(number, title, run, compared, own_app, looks_at)
        return run

    return register


@dataclass
class Result:
    """A case's figures on the service, and on the plain one."""

    case: Case
    figures: list[Figure] = field(default_factory=list)
    plain: dict[str, Value] = field(default_factory=dict)
    error: str = ""
    noise: str = ""
    """Why times cannot be judged, where that is so."""

    @property
    def verdict(self) -> Verdict:
        if self.error or not self.figures:
            return "failed"
        missed = [one for one in self.figures if not one.passed]
        if not missed:
            return "passed"
        return "cannot judge" if self.noise and all(one.timed for one in missed) else "failed"

    def as_json(self) -> dict[str, object]:
        """Return what `--json` writes."""
        return {
            "case": self.case.number,
            "title": self.case.title,
            "verdict": self.verdict,
            "noise": self.noise,
            "error": self.error,
            "figures": [figure.__dict__ for figure in self.figures],
            "plain": self.plain,
        }


def at_most(name: str, value: float, limit: float, unit: str = "") -> Figure:
    """Return a figure that must not exceed `limit`; NaN fails."""
    return Figure(name, value, f"<= {limit:g}{unit}", value <= limit)


def at_least(name: str, value: float, limit: float, unit: str = "") -> Figure:
    """Return a figure that must reach `limit`; NaN fails."""
    return Figure(name, value, f">= {limit:g}{unit}", value >= limit)


def soon(name: str, milliseconds: float, limit: float) -> Figure:
    """Return a time that must not exceed `limit` milliseconds of the reference machine."""
    limit *= scale
    return Figure(name, milliseconds, f"<= {limit:.3g} ms", milliseconds <= limit, timed=True)


def fast(name: str, per_second: float, limit: float) -> Figure:
    """Return a rate that must reach `limit` a second of the reference machine."""
    limit /= scale
    return Figure(name, per_second, f">= {limit:.4g}", per_second >= limit, timed=True)


def slower() -> float:
    """Return by how much longer than on the reference machine to wait, if it is faster."""
    return max(1.0, scale)


def timed(figure: Figure) -> Figure:
    """Return a figure whose failure may be the machine's, whatever its unit."""
    return replace(figure, timed=True)


def exactly(name: str, value: Value, expected: Value) -> Figure:
    """Return a figure that must equal `expected`."""
    return Figure(name, value, f"= {shown(expected)}", value == expected)


def shown(value: Value | None) -> str:
    """Return a value as a table shows it."""
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:,.4g}"


def lines(result: Result) -> list[str]:
    """Return a case as lines of the table."""
    verdict = {"passed": "pass", "failed": "FAIL"}.get(result.verdict, result.verdict)
    rows = [f"{result.case.number:>3}  {result.case.title:58} {verdict:>32}"]
    for one in result.figures:
        mark = "" if one.passed else "  <- FAIL"
        plain = shown(result.plain.get(one.name))
        rows.append(f"     {one.name:44} {one.limit:>14} {shown(one.value):>14} {plain:>14}{mark}")
    if result.verdict == "cannot judge":
        rows.append(f"     {result.noise}")
    if result.error:
        rows += [f"     {line}" for line in result.error.splitlines()[-12:]]
    return rows
