"""The image, built and run for real under compose; `make image` runs this where Docker is."""

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from render import render
from running import answers, patience

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(
        "IMAGE" not in os.environ, reason="builds an image: set IMAGE=1, with Docker"
    ),
]


def free_port() -> int:
    """Return a port that nobody listens on now; Docker may not listen on one that is held."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Stack:
    """A rendered project under compose, under the limits that its file sets."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.prometheus_port = free_port()
        self._environment = os.environ | {
            "SECRET_KEY": "0123456789abcdef" * 2,
            "ADMIN_TOKEN": "t" * 32,
            "PORT": str(self.port),
            "PROMETHEUS_PORT": str(self.prometheus_port),
        }

    def compose(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            ["docker", "compose", *arguments],
            cwd=self.project,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done.stdout

    def run(self, *command: str, check: bool = True) -> str:
        return self.compose("exec", "-T", "service", *command, check=check)

    def workers(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(
            self.run("python", "-m", "service", "status", "--json")
        )
        return rows

    def inspect(self) -> dict[str, Any]:
        container = self.compose("ps", "--all", "--quiet", "service").strip()
        shown = subprocess.run(
            ["docker", "inspect", container], capture_output=True, text=True, check=True
        )
        (only,) = json.loads(shown.stdout)
        described: dict[str, Any] = only
        return described


@pytest.fixture(scope="module")
def stack(template, tmp_path_factory) -> Iterator[Stack]:
    version = os.environ.get("IMAGE_PYTHON", "3.11")
    out = tmp_path_factory.mktemp("image")
    project = render(template, out, project_slug="image-test", python_version=version)
    stack = Stack(project)
    try:
        stack.compose("build")
        stack.compose("up", "--wait", "--wait-timeout", "90")
        yield stack
    finally:
        print(stack.compose("logs", "service", check=False)[-4000:])
        stack.compose("--profile", "*", "down", "--volumes", "--timeout", "40", check=False)


def wait_for(promise: str, kept, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not kept():
        assert time.monotonic() < deadline, promise
        time.sleep(0.1)


def test_it_is_healthy_and_answers(stack):
    assert stack.inspect()["State"]["Health"]["Status"] == "healthy"
    assert answers(f"{stack.url}/readyz")
    assert answers(f"{stack.url}/")


def test_it_is_confined(stack):
    described = stack.inspect()
    assert described["Config"]["User"] == "10001:10001"
    assert described["HostConfig"]["ReadonlyRootfs"] is True
    assert described["HostConfig"]["CapDrop"] == ["ALL"]
    status = stack.run("cat", "/proc/1/status")
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert "Uid:\t10001\t10001\t10001\t10001" in status
    refused = "import tempfile; tempfile.TemporaryFile(); open('/app/x', 'w')"
    assert (
        stack.run("python", "-c", f"try:\n {refused}\nexcept OSError as e: print(e.errno)")
        == "30\n"
    )
    pip = "import importlib.util; print(importlib.util.find_spec('pip'))"
    assert stack.run("python", "-c", pip) == "None\n"
    # Folders that it may not read make `find` end with 1.
    assert stack.run("find", "/", "-xdev", "-type", "f", "-perm", "/6000", check=False) == ""


def test_workers_follow_the_cpu_quota(stack):
    assert len(stack.workers()) == 2


def test_prometheus_scrapes_every_worker_and_knows_the_alerts(stack):
    stack.compose("--profile", "prometheus", "up", "--wait", "--wait-timeout", "60")
    api = f"http://127.0.0.1:{stack.prometheus_port}/api/v1"

    def asked(path: str) -> Any:
        with urllib.request.urlopen(f"{api}/{path}", timeout=patience(5)) as answer:
            return json.load(answer)["data"]

    found = "query?query=" + quote("process_resident_memory_bytes{worker!=''}")
    wait_for("two workers are scraped", lambda: len(asked(found)["result"]) >= 2, seconds=40)
    rules = [rule for group in asked("rules")["groups"] for rule in group["rules"]]
    assert {rule["type"] for rule in rules} == {"alerting", "recording"}
    assert all(rule["health"] in {"ok", "unknown"} for rule in rules)


def test_a_worker_that_the_kernel_ends_for_memory_is_replaced_and_the_service_goes_on(stack):
    victim = stack.workers()[0]["pid"]
    started = stack.inspect()["State"]["StartedAt"]
    # The kernel ends the process that counts for most: first the victim, then this one.
    greedy = (
        f"open('/proc/{victim}/oom_score_adj', 'w').write('1000'); "
        "held = [bytearray(2**22) for _ in range(300)]"
    )
    stack.run("python", "-c", greedy, check=False)
    wait_for(
        "the victim is replaced",
        lambda: (
            len(stack.workers()) == 2
            and victim not in {worker["pid"] for worker in stack.workers()}
            and answers(f"{stack.url}/readyz")
        ),
    )
    state = stack.inspect()["State"]
    assert state["Running"] is True
    assert state["StartedAt"] == started


def test_sigterm_ends_it_with_zero_within_the_grace_period(stack):
    start = time.monotonic()
    stack.compose("stop", "service")
    state = stack.inspect()["State"]
    assert state["ExitCode"] == 0
    assert time.monotonic() - start < 15, "nothing was in flight"


def test_a_stop_during_the_start_is_heard_too(stack):
    stack.compose("start", "service")
    time.sleep(0.3)
    start = time.monotonic()
    stack.compose("stop", "service")
    assert stack.inspect()["State"]["ExitCode"] == 0
    assert time.monotonic() - start < 10
