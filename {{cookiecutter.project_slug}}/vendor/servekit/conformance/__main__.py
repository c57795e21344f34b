"""Run the tests of FastAPI, Starlette and uvicorn plainly and through us, and compare."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance.deviations import explain, read_table
from conformance.outcomes import FILE
from conformance.sources import ROOT, SourcesError, unpack
from conformance.suites import SUITES, Suite
from servekit.cpus import usable_cpus


@dataclass
class Run:
    """How the tests of a suite are run: by which Python, and in which folder."""

    suite: Suite
    python: Path
    folder: Path

    def outcomes(self, plugins: tuple[str, ...], *tests: str) -> dict[str, Any]:
        """Run tests, all of the suite or those given, and return how they ended."""
        processes = 0 if tests else usable_cpus()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "outcomes.json"
            command = [
                *(str(self.python), "-m", "pytest", "-q", "--no-header", "--tb=line"),
                *("-n", str(processes), "--timeout=120", "-p", "conformance.outcomes"),
                *(option for name in plugins for option in ("-p", name)),
                *("-p", "no:cacheprovider", "-p", "no:asyncio", "-o", "addopts="),
                *(tests or (*self.suite.options, *self.suite.paths)),
            ]
            done = subprocess.run(
                command, cwd=self.folder, env=environment(file), check=False, capture_output=True
            )
            if not file.exists():
                sys.exit(done.stdout.decode()[-4000:] + done.stderr.decode()[-4000:])
            found: dict[str, Any] = json.loads(file.read_text())
            return found


def environment(file: Path) -> dict[str, str]:
    """Return the environment of a run: what is installed comes before the tests' own tools."""
    paths = [ROOT, ROOT / "src", *{sysconfig.get_path(name) for name in ("purelib", "platlib")}]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), FILE: str(file)}


def passed(outcomes: dict[str, Any]) -> set[str]:
    """Return the tests that passed."""
    return {test for test, outcome in outcomes["tests"].items() if outcome == "passed"}


def compare(run: Run) -> bool:
    """Run a suite both ways, print how they compare, and return whether all is explained."""
    suite = run.suite
    print(f"{suite.title} …", file=sys.stderr, end="\r", flush=True)
    expected = passed(run.outcomes(suite.plain))
    ours = run.outcomes(suite.through)
    deviating = sorted(expected - passed(ours))
    if deviating:  # once more and in turn: a busy machine is no reason
        again = passed(run.outcomes(suite.through, *deviating))
        deviating = [test for test in deviating if test not in again]
    reasons, unexplained, idle = explain(suite.name, deviating, read_table())
    share = 1 - len(deviating) / max(len(expected), 1)
    print(
        f"{suite.title}: {len(expected) - len(deviating):,} of {len(expected):,} ({share:.2%}); "
        f"{ours['through']:,} of all tests had something pass through us"
    )
    for reason, tests in reasons.items():
        print(f"  {len(tests):>3}  {reason}")
    for test in unexplained:
        print(f"  no reason for {test}: {ours['messages'].get(test, ours['tests'].get(test))}")
    for pattern in idle:
        print(f"  no longer deviates: {pattern}")
    if not expected or not ours["through"]:
        print("  nothing went through us")
        return False
    if share < suite.least:
        print(f"  less than {suite.least:.1%}")
    return not unexplained and share >= suite.least


def main() -> int:
    """Compare the suites that the command line names, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m conformance", description=__doc__)
    parser.add_argument("--python", type=Path, required=True, help="the one with the tests' tools")
    parser.add_argument("--cache", type=Path, required=True, help="keeps source distributions")
    parser.add_argument("--sdists", type=Path, help="a folder that has them already")
    parser.add_argument(
        "--suite", action="append", choices=SUITES, help="only this; all by default"
    )
    options = parser.parse_args()
    fine = True
    for name in options.suite or SUITES:
        suite = SUITES[name]
        try:
            folder = unpack(
                suite.project, python=options.python, cache=options.cache, folder=options.sdists
            )
        except SourcesError as error:
            print(error, file=sys.stderr)
            return 1
        fine = compare(Run(suite, options.python, folder)) and fine
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
