"""`doctor` of the command line, on running services that ail from one thing each."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from typing import Any, cast

import pytest

from servekit.admin.client import AdminError
from servekit.diagnosis import doctor as doctor_module
from servekit.diagnosis.doctor import Examination, who_holds
from servekit.diagnosis.judgement import judge_again, told
from servekit.start.command_line import parse
from servekit.testing import patience

APPLICATION = """
import time
from fastapi import FastAPI
from servekit import Service, Settings, main

KEPT = []

def create_app(settings: Settings) -> FastAPI:
    service = Service(settings)
    app = FastAPI()
    service.install(app)

    @app.get("/well")
    async def well() -> str:
        return "ok"

    @app.get("/waits")
    async def waits() -> None:
        call_slow_library()

    @app.get("/keeps")
    async def keeps() -> None:
        KEPT.append("a" * 100_000)

    @app.get("/computes")
    async def computes() -> None:
        burn()

    return app

def call_slow_library():
    time.sleep(0.2)

def burn():
    ends = time.thread_time() + 0.15
    while time.thread_time() < ends:
        pass

if __name__ == "__main__":
    raise SystemExit(main("ailing:create_app", settings="servekit:Settings"))
"""
ADDS = 'KEPT.append("a" * 100_000)'
LINES = {
    name: 1 + APPLICATION.splitlines().index(f"def {name}():")
    for name in ("call_slow_library", "burn")
}
HOST = {"cpu_starvation", "cpu_quota", "stopped", "steal"}
"""What a busy machine does to any service."""


@pytest.fixture
def doctor(start_service, tmp_path):
    """Return a function that examines a service by the command line, and its document."""
    (tmp_path / "ailing.py").write_text(APPLICATION)
    service = start_service("ailing", folder=tmp_path, WORKERS=2)
    ports = {"ADMIN_PORT": service.admin_url.rpartition(":")[2]}
    ports["PORT"] = service.url.rpartition(":")[2]
    seen = tmp_path / "seen.json"

    def doctor(
        *arguments: str, interrupted: bool = False
    ) -> tuple[subprocess.CompletedProcess[str], Any]:
        command = [sys.executable, "-m", "ailing", "doctor", "--json", "seen.json", *arguments]
        with subprocess.Popen(
            command,
            cwd=tmp_path,
            env=ports,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as running:
            if interrupted:
                ends = time.monotonic() + patience(30)
                while not (seen.exists() and json.loads(seen.read_text())["windows"]):
                    assert time.monotonic() < ends
                    time.sleep(0.1)
                os.killpg(running.pid, signal.SIGINT)  # as a terminal does
            told = running.communicate(timeout=patience(40))
        done = subprocess.CompletedProcess(command, running.returncode, *told)
        return done, json.loads(seen.read_text()) if seen.exists() else {}

    return doctor


@pytest.mark.parametrize(
    "ailing",
    [
        ("/waits", "blocking_call", "call_slow_library"),
        ("/computes", "cpu_on_loop", "burn"),
    ],
)
def test_the_cause_is_found_with_its_line_and_route(doctor, ailing, tmp_path, monkeypatch):
    path, cause, function = ailing
    # As many as a busy machine computes too, and as long as that takes.
    rate, seconds = f"{8 / patience(1):.2f}", f"{min(patience(6), 25):.0f}"
    done, seen = doctor("--seconds", seconds, "--url", path, "--rate", rate, "--output", "p.html")
    assert done.returncode == 1, done.stderr + done.stdout + str(seen.get("windows"))
    found = [each for each in seen["verdicts"] if each["cause"] not in HOST]
    if not found and seen["verdicts"]:
        pytest.skip("the host alone is to blame: others leave this machine too little")
    [verdict] = found

    assert verdict["cause"] == cause, done.stdout
    place = re.match(rf"{function} ailing\.py:(\d+) ", verdict["places"][0])
    assert place is not None, verdict["places"]
    assert LINES[function] < int(place[1]) <= LINES[function] + 3  # the line that runs
    assert verdict["route"] == path
    assert verdict["sentence"] in done.stdout
    assert verdict["sentence"] in (tmp_path / "p.html").read_text()

    monkeypatch.chdir(tmp_path)  # places are written from there on
    again = [told(verdict, seen["sampled"]["admin"]) for verdict in judge_again(seen).verdicts]
    assert again == read_again(seen["verdicts"])


def test_the_name_and_line_that_hold_memory_that_grows_are_told(doctor):
    done, seen = doctor("--seconds", "8", "--url", "/keeps", "--rate", "60")
    [verdict] = [each for each in seen["verdicts"] if each["cause"] not in HOST]
    assert verdict["cause"] == "memory_growth", done.stdout
    [place] = verdict["places"]
    lines = APPLICATION.splitlines()
    line, adds = (1 + lines.index(one) for one in ("KEPT = []", f"        {ADDS}"))
    told = (
        rf"ailing\.KEPT ailing\.py:{line}, added to at ailing\.py:{adds} "
        r"\(\+.* MiB of objects in worker \d in \d+ s more, .* KiB a request; in it: str\)"
    )
    assert re.fullmatch(told, place)
    assert [one.places for one in judge_again(seen).verdicts if one.cause == "memory_growth"] == [
        (place,)
    ]


@pytest.mark.parametrize("refusal", [AdminError("worker 0 was replaced"), KeyboardInterrupt()])
def test_what_was_seen_is_told_where_nobody_can_be_asked_who_holds_it(refusal, monkeypatch):
    def refuse(*_):
        raise refusal

    monkeypatch.setattr(doctor_module, "holders", refuse)
    failures: list[str] = []
    client = cast("Any", None)
    assert who_holds(client, Examination(seconds=5), 0, failures) is None
    [told] = failures
    assert told.startswith("who holds the memory")


def read_again(verdicts):
    """Return verdicts with tuples for JSON's lists."""
    return [
        {name: tuple(value) if isinstance(value, list) else value for name, value in each.items()}
        for each in verdicts
    ]


def test_a_service_that_is_well_is_called_healthy(doctor):
    done, seen = doctor("--seconds", "6", "--url", "/well", "--rate", "30")
    found = {verdict["cause"] for verdict in seen["verdicts"]}
    assert found <= HOST, done.stdout
    assert done.returncode == (1 if found else 0), done.stdout
    assert seen["sampled"]["load"]["200"] > 20


def test_without_requests_there_is_nothing_to_judge(doctor):
    done, seen = doctor("--seconds", "5")
    assert done.returncode == 2, done.stdout
    assert "0 requests came meanwhile" in done.stdout
    assert seen["complete"]


@pytest.mark.usefixtures("ctrl_c_is_heard")
@pytest.mark.parametrize("of", [[], ["--start"]])
def test_who_ends_it_by_ctrl_c_is_told_what_was_seen_until_then(doctor, of):
    asked = ["--seconds", "100", "--url", "/well", "--rate", "20"]
    done, seen = doctor(*asked, *of, interrupted=True)
    assert done.returncode in {0, 1, 2}, done.stderr
    assert not seen["complete"]
    assert seen["sampled"]["load"]["200"] > 0
    assert "/well, cut, ended with: " in done.stdout
    assert not seen["sampled"]["failures"]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--seconds", "0"], "5 to 100, not 0"),
        (["--url", "ftp://x/"], "a path or an http:// URL"),
        (["--url", "http://127.0.0.1:1/"], "nothing answers at http://127.0.0.1:1"),
        (["--rate", "-1"], "above 0"),
        (["--url", "/", "--file", "x"], "not allowed with argument"),
        (["--start", "--on-port", "1"], "not allowed with argument"),
        (["--no-such"], "unrecognized arguments"),
        (["--file", "missing"], "missing: No such file or directory"),
        (["--compare", "ailing.py"], "ailing.py: no doctor's report"),
        (["--json", "no/such/folder/p"], "cannot be written"),
        (["--output", "no/such/folder/p"], "cannot be written"),
    ],
)
def test_a_doctor_that_cannot_work_ends_with_a_code_of_its_own(doctor, arguments, reason):
    done, _ = doctor(*arguments)
    assert done.returncode == 3
    assert reason in done.stderr


@pytest.mark.parametrize("arguments", [[], ["--on-port", "2"]])
def test_a_service_that_does_not_run_cannot_be_judged(tmp_path, arguments):
    (tmp_path / "ailing.py").write_text(APPLICATION)
    command = [sys.executable, "-m", "ailing", "doctor", *arguments]
    environment = {"ADMIN_PORT": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "nothing answers" in done.stderr
    assert "with --start the doctor starts one" in done.stderr


def test_help_tells_the_range_of_seconds_and_what_each_exit_code_means(capsys):
    with pytest.raises(SystemExit):
        parse(["doctor", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "how long, 5 to 100 (15)" in told
    assert "2 cannot judge or no service there, 3 arguments that it cannot use" in told


def test_it_starts_a_service_of_its_own_and_compares(tmp_path, monkeypatch):
    (tmp_path / "ailing.py").write_text(APPLICATION)
    (tmp_path / "requests").write_text("/waits\nGET /waits?again=1\n")
    command = [sys.executable, "-m", "ailing", "doctor", "--start", "--seconds", "5"]
    monkeypatch.chdir(tmp_path)
    for more in ("--json seen.json", "--file requests --rate 8 --compare seen.json"):
        done = subprocess.run(
            [*command, *more.split()],
            capture_output=True,
            text=True,
            timeout=patience(60),
            check=False,
        )
        assert done.returncode in {0, 1, 2}, done.stderr
    assert "call_slow_library ailing.py:" in done.stdout
    assert "before and now: A call that waits blocks the event loop: new, now " in done.stdout
    assert "/waits, /waits?again=…, 6 s long" in done.stdout
