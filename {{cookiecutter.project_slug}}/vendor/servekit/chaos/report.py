"""What a case found, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from chaos.targets import Target

Value = float | str


@dataclass(frozen=True)
class Figure:
    """One measured value, what it had to be and whether it was."""

    name: str
    value: Value
    limit: str
    passed: bool


Run = Callable[[Target], Awaitable[list[Figure]]]


@dataclass(frozen=True)
class Case:
    """A promise: its number on the scorecard, and what measures it on a target."""

    number: int
    title: str
    run: Run
    compared: bool = True
    own_app: bool = False


CASES: dict[int, Case] = {}


def case(
    number: int, title: str, *, compared: bool = True, own_app: bool = False
) -> Callable[[Run], Run]:
    """Register a case; `compared=False` where the plain service has nothing to compare.

    `own_app=True` where it asks for more than the routes of chaos: for users, logins, products.
    """

    def register(run: Run) -> Run:
        CASES[number] = Case(number, title, run, compared, own_app)
        return run

    return register


@dataclass
class Result:
    """A case's figures on the service, and on the plain one."""

    case: Case
    figures: list[Figure] = field(default_factory=list)
    plain: dict[str, Value] = field(default_factory=dict)
    error: str = ""

    @property
    def passed(self) -> bool:
        return bool(self.figures) and not self.error and all(one.passed for one in self.figures)

    def as_json(self) -> dict[str, object]:
        """Return what `--json` writes."""
        return {
            "case": self.case.number,
            "title": self.case.title,
            "passed": self.passed,
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
    verdict = "pass" if result.passed else "FAIL"
    rows = [f"{result.case.number:>3}  {result.case.title:58} {verdict:>32}"]
    for one in result.figures:
        mark = "" if one.passed else "  <- FAIL"
        plain = shown(result.plain.get(one.name))
        rows.append(f"     {one.name:44} {one.limit:>14} {shown(one.value):>14} {plain:>14}{mark}")
    if result.error:
        rows += [f"     {line}" for line in result.error.splitlines()[-12:]]
    return rows
