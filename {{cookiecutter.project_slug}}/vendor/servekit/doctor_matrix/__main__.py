"""Ask the doctor about a service that ails from one thing, for each thing and for none."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import doctor_matrix.ailing  # noqa: F401 - registers the cases
from doctor_matrix.cases import CASES, Case
from doctor_matrix.healthy import run_healthy
from doctor_matrix.service import started
from doctor_matrix.surroundings import CannotInjectError
from servekit.diagnosis.judgement import NO_CPU

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HOST = frozenset({"cpu_starvation", "cpu_quota", "steal", "stopped"})
"""What a busy machine does to any service: true, and no fault of the doctor's."""

HIDDEN, TRIES = "hidden by the host", 3


@dataclass(frozen=True)
class Outcome:
    """What the doctor said of a case."""

    case: Case
    named: tuple[str, ...] = ()
    place: str = ""
    seconds: float = 0.0
    cannot: str = ""
    """What could not be judged."""
    skipped: str = ""
    """Why it could not be injected."""

    @property
    def wrong(self) -> str:
        """Return what is wrong with it, or nothing."""
        if self.skipped:
            return ""
        case, others = self.case, set(self.named) - HOST - self.case.allowed
        if case.twin:
            return "false alarm" if others or case.cause in self.named else ""
        if case.cause not in self.named:
            # Where the host took the CPU, code is not judged: that is as it should be.
            hidden = HOST & set(self.named) or NO_CPU in self.cannot
            return HIDDEN if hidden else "missed"
        if others - {case.cause}:
            return "names another too"
        return "" if case.is_at(self.place) else "another place"

    def line(self) -> str:
        """Return it for a table."""
        named = ", ".join(self.named) or "-"
        told = self.wrong or (f"skipped: {self.skipped}" if self.skipped else "right")
        line = f"{self.case.name:22} {named:40} {self.seconds:5.1f} s  {told}  {self.place}"
        return line + (f"\n{'':23}{self.cannot}" if self.wrong and self.cannot else "")


def run(case: Case, seconds: float, kept: Path | None) -> Outcome:
    """Start a case's application, have it examined, and return what was said."""
    began = time.monotonic()
    try:
        with case.before() as given:
            settings = {**case.settings, **given, "CASE": case.name}
            with started(settings, slow_log=case.slow_log) as running, case.during(running):
                seen = running.examine("/", case.rate, seconds)
    except CannotInjectError as error:
        return Outcome(case, skipped=str(error))
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        (kept / f"{case.name}.json").write_text(json.dumps(seen))
    outcome = outcome_of(case, seen)
    return replace(outcome, seconds=time.monotonic() - began)


def first_judged(tries: Iterator[Outcome]) -> Outcome:
    """Return the first outcome in which the host did not hide the rest, or the last."""
    seen = []
    for outcome in tries:
        seen.append(outcome)
        if outcome.wrong != HIDDEN:
            break
    return seen[-1]


def outcome_of(case: Case, seen: dict[str, Any]) -> Outcome:
    """Return what a document says of a case."""
    verdicts = {verdict["cause"]: verdict for verdict in seen["verdicts"]}
    places = verdicts.get(case.cause, {}).get("places", [])
    told = places[0] if places else ""
    return Outcome(case, tuple(verdicts), told, cannot=" ".join(seen["cannot_judge"]))


def matrix(outcomes: Sequence[Outcome]) -> str:
    """Return a table of what was injected by what was named; twins are a row each as well."""
    causes = sorted({each.case.cause for each in outcomes} | {n for o in outcomes for n in o.named})
    width = max(map(len, causes)) + 5
    lines = ["", f"{'':{width}}  " + " ".join(f"{n:>2}" for n in range(1, len(causes) + 1))]
    for kind in (False, True):
        for number, cause in enumerate(causes, 1):
            rows = [one for one in outcomes if (one.case.cause, one.case.twin) == (cause, kind)]
            if rows:
                cells = ("x" if name in rows[0].named else "." for name in causes)
                name = f"{number:>2} {cause}" if not kind else f"   {cause}'"
                lines.append(f"{name:{width}}  " + " ".join(f"{cell:>2}" for cell in cells))
    return "\n".join([*lines, "(x: named; ' is the twin, in whose row only the host may stand)"])


def chosen(words: str) -> list[Case]:
    """Return the cases of names with commas between, twins included; all of none."""
    causes = {case.cause for case in CASES.values()}
    wanted = set(filter(None, words.split(","))) or causes
    if missing := wanted - causes - CASES.keys():
        raise SystemExit(f"no case {', '.join(missing)}; there are {', '.join(sorted(causes))}")
    return [case for name, case in CASES.items() if name in wanted or case.cause in wanted]


def main() -> None:
    """Run the chosen cases and the healthy ones; exit status 1 when the doctor is wrong once."""
    parser = argparse.ArgumentParser(prog="python -m doctor_matrix", description=__doc__)
    parser.add_argument("--only", default="", help="causes, for example blocking_call,gc")
    parser.add_argument("--seconds", type=float, default=8, help="how long the doctor looks (8)")
    parser.add_argument("--healthy", type=int, default=0, help="runs of a service that is well")
    parser.add_argument("--keep", type=Path, help="write what the doctor saw into this folder")
    options = parser.parse_args()
    outcomes = []
    for case in chosen(options.only) if options.only or not options.healthy else []:
        tries = (run(case, options.seconds, options.keep) for _ in range(TRIES))
        outcomes.append(first_judged(tries))
        print(outcomes[-1].line(), flush=True)
    wrong = [one for one in outcomes if one.wrong]
    if outcomes:
        print(matrix(outcomes))
        print(f"{len(outcomes) - len(wrong)} of {len(outcomes)} right")
    alarms = run_healthy(options.healthy, options.seconds) if options.healthy else 0
    sys.exit(bool(wrong or alarms))


if __name__ == "__main__":
    main()
