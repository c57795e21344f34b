"""Every cause has a name, a fix, a line in the guide, an application and a twin."""

import re
from pathlib import Path

import pytest

import doctor_matrix.ailing  # noqa: F401 - registers the cases
from doctor_matrix.__main__ import Outcome
from doctor_matrix.cases import CASES
from servekit.diagnosis.remedies import FIXES, NEXT, TITLES, next_step
from servekit.start.command_line import parse

GUIDE = Path(__file__).parents[2] / "docs" / "operations.md"
NOT_INJECTED = {"steal"}


def test_every_cause_has_an_application_and_a_twin():
    assert {case.cause for case in CASES.values() if case.twin} == TITLES.keys() - NOT_INJECTED
    assert {case.cause for case in CASES.values() if not case.twin} == TITLES.keys() - NOT_INJECTED


def test_every_cause_is_in_the_guide_and_has_a_fix():
    table = GUIDE.read_text().split("## Doctor")[1].split("\n## ")[0]
    named = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(named))) == TITLES.keys() == FIXES.keys()
    assert NEXT.keys() <= TITLES.keys()


CASE = CASES["blocking_call"]
assert CASE.guilty is not None
FIRST = CASE.guilty.__code__.co_firstlineno
PLACE = f"{CASE.place}{FIRST + 1}"


@pytest.mark.parametrize(
    ("outcome", "wrong"),
    [
        (Outcome(CASE, ("blocking_call",), PLACE), ""),
        (Outcome(CASE, ("blocking_call",), f"{CASE.place}{FIRST - 1}"), "another place"),
        (Outcome(CASE, ("cpu_starvation", "blocking_call"), f"{PLACE} (99%)"), ""),
        (Outcome(CASE, ("blocking_call",), "elsewhere x.py:1"), "another place"),
        (Outcome(CASE, ("blocking_call", "gc"), PLACE), "names another too"),
        (Outcome(CASE, ("gc",)), "missed"),
        (Outcome(CASE), "missed"),
        (Outcome(CASE, ("steal",)), "hidden by the host"),
        (Outcome(CASES["gc.twin"], ("gc",)), "false alarm"),
        (Outcome(CASES["gc.twin"], ("overload",)), "false alarm"),
        (Outcome(CASES["gc.twin"], ("cpu_starvation",)), ""),
        (Outcome(CASES["stopped.twin"], ("stopped",)), "false alarm"),
    ],
)
def test_the_matrix_is_strict(outcome, wrong):
    assert outcome.wrong == wrong


@pytest.mark.parametrize("cause", TITLES)
def test_the_next_step_can_be_typed_as_it_is_printed(cause):
    step = next_step(cause, "http://127.0.0.1:28061")
    assert "{" not in step
    assert "9100" not in step
    command = re.split("[;:,] ", step)[0].split()
    if command[0] in {"profile", "heap", "status", "settings", "doctor"}:
        assert parse(command).command == command[0]
