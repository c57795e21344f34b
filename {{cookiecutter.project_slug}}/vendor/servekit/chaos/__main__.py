"""Hold the running service to its promises under load, faults, attack and deploys."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import traceback
from collections import Counter
from pathlib import Path

import chaos.cases.all
import chaos.report
from chaos.machine import OTHERS_MAX, Machine, Others
from chaos.report import CASES, Case, Result, lines
from chaos.targets import PLAIN, Target, service

OK = 200
CANNOT_JUDGE = 3


async def run_case(
    case: Case, ours: Target, plain: Target | None, others: Others, machine: Machine
) -> Result:
    """Run a case on the service, then on the plain one if any; an exception is a failure."""
    result = Result(case, noise=machine.slowed())
    others.begin()
    try:
        result.figures = await case.run(ours)
    except Exception:  # noqa: BLE001 - a case that breaks is a case that fails
        result.error = traceback.format_exc()
    if (cpus := others.cpus()) > OTHERS_MAX:
        result.noise = f"others used {cpus:.2f} CPUs meanwhile"
    result.noise = result.noise or machine.slowed()
    if plain is not None and case.compared:
        try:
            result.plain = {one.name: one.value for one in await case.run(plain)}
        except Exception as error:  # noqa: BLE001 - the plain service may well not survive
            result.plain = {one.name: type(error).__name__ for one in result.figures}
    return result


async def run_all(cases: list[Case], ours: Target, plain: Target | None) -> list[Result]:
    """Run the cases one after the other, printing each as it ends."""
    others = Others()
    machine = Machine.look(others)
    chaos.report.scale = machine.scale
    print(machine)
    print(f"     {'figure':44} {'limit':>14} {'service':>14} {'plain':>14}")
    results: list[Result] = []
    for case in cases:
        print(f"{case.number:>3}  {case.title} …", file=sys.stderr, end="\r", flush=True)
        result = await run_case(case, ours, plain, others, machine)
        seen_with = [one.noise for one in results if one.case.number == case.looks_at]
        result.noise = result.noise or "".join(seen_with)
        if machine.is_noisy:
            result.noise = result.noise or str(machine)
        print("\n".join(lines(result)), flush=True)
        results.append(result)
    return results


def chosen(words: str) -> list[Case]:
    """Return the cases of a list such as `20,22-24`; all when it is empty."""
    numbers: list[int] = []
    for word in filter(None, words.split(",")):
        first, _, last = word.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    missing = [number for number in numbers if number not in CASES]
    if missing:
        known = ", ".join(map(str, sorted(CASES)))
        raise SystemExit(f"No case {', '.join(map(str, missing))}; there are {known}.")
    return [CASES[number] for number in numbers or sorted(CASES)]


async def see_the_routes(ours: Target) -> None:
    """Refuse an application that lets nobody through to the routes that the cases ask for."""
    async with ours.start(WORKERS="1") as running:
        for path in ("/chaos/ping", *ours.routes):
            if (status := (await running.get(path)).status) != OK:
                raise SystemExit(f"GET {path} is answered {status}: the cases need a 200.")


def runnable(cases: list[Case]) -> list[Case]:
    """Return the cases that another application can be put to; name the others."""
    for case in cases:
        if case.own_app:
            print(f"{case.number:>3}  {case.title}: needs the library's own application")
    return [case for case in cases if not case.own_app]


def main() -> None:
    """Run the chosen cases; exit status 1 when one fails, else 3 when one cannot be judged."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--case", default="", help="numbers, for example 20,22-24; all by default")
    parser.add_argument("--alone", action="store_true", help="leave the plain service out")
    parser.add_argument(
        "--short", action="store_true", help="fewer seconds; times may be those of a busy machine"
    )
    parser.add_argument("--seconds", type=float, default=0, help="how long 45 and 46 take (60)")
    parser.add_argument("--list", action="store_true", help="print the cases and stop")
    parser.add_argument("--app", default="", help="another application: service.app:create_app")
    parser.add_argument(
        "--settings", default="servekit:Settings", help="its settings: service.settings:Settings"
    )
    parser.add_argument(
        "--routes", default="", help="paths that ordinary clients ask for: /links,/products/1"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    options = parser.parse_args()
    cases = chosen(options.case)
    if options.list:
        print("\n".join(f"{case.number:>3}  {case.title}" for case in cases))
        return
    ours = service(options.app, options.settings, tuple(filter(None, options.routes.split(","))))
    ours.seconds = options.seconds
    if options.app:
        cases = runnable(cases)
    if options.app or ours.routes:
        asyncio.run(see_the_routes(ours))
    alone = options.alone or bool(ours.routes)  # the plain service has no such routes
    ours, plain = (each.shortened() if options.short else each for each in (ours, PLAIN))
    results = asyncio.run(run_all(cases, ours, None if alone else plain))
    counts = Counter(result.verdict for result in results)
    unsure = f", {counts['cannot judge']} cannot be judged here" if counts["cannot judge"] else ""
    print(f"{counts['passed']} passed, {counts['failed']} failed{unsure}")
    if options.json:
        options.json.write_text(json.dumps([one.as_json() for one in results], indent=2) + "\n")
    sys.exit(1 if counts["failed"] else CANNOT_JUDGE if unsure else 0)


if __name__ == "__main__":
    main()
