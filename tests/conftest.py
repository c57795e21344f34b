import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

# Before cookiecutter is imported: it reads HOME then, and its replays belong to nobody.
os.environ.setdefault("XDG_CACHE_HOME", str(Path.home() / ".cache"))  # uv's and pip's stay
_HOME = tempfile.TemporaryDirectory(prefix="home-")
os.environ["HOME"] = _HOME.name

from render import COOKIECUTTER, ROOT, copy_tracked, render  # noqa: E402 - after HOME
from running import RunningService, RunningValkey, make, patience  # noqa: E402 - as above


def pytest_collection_modifyitems(items):
    """Whatever starts the service is live: `make test` runs it apart from what computes.

    The library's own suite takes as long as all others, so it begins first.
    """
    items.sort(key=lambda item: item.path.name != "test_checks.py")
    for item in items:
        live = {"start_service", "valkey"} & set(item.fixturenames)
        if live or "e2e" in item.path.relative_to(ROOT).parts:
            item.add_marker(pytest.mark.live)


@pytest.hookimpl(wrapper=True, tryfirst=True)  # or pytest-timeout looks first
def pytest_runtest_protocol(item):
    """Give a test more time on a machine that is busy: its limit is for what never ends.

    A limit that is asked for by `--timeout` stays as it is.
    """
    marked = item.get_closest_marker("timeout")
    if marked or item.config.getoption("timeout") is None:
        seconds = marked.args[0] if marked else item.config.getini("timeout")
        item.add_marker(pytest.mark.timeout(patience(float(seconds))), append=False)
    return (yield)


@pytest.fixture(scope="session")
def template(tmp_path_factory) -> Path:
    """A copy of the tracked files, uncommitted changes included."""
    return copy_tracked(tmp_path_factory.mktemp("template") / "perf-template")


@pytest.fixture
def bake(template, tmp_path) -> Callable[..., Path]:
    """Render with the answers given, each time into a folder of its own."""
    count = iter(range(100))

    def bake(**answers: object) -> Path:
        return render(template, tmp_path / f"render-{next(count)}", **answers)

    return bake


@pytest.fixture
def type_answers(template, tmp_path) -> Callable[..., Path]:
    """Render with answers typed at the prompts; a question without one gets an empty line."""
    questions = list(json.loads((template / "cookiecutter.json").read_text()))

    def type_answers(**answers: str) -> Path:
        typed = [answers.get(name, "") for name in questions if not name.startswith("_")]
        out: Path = tmp_path / "typed"
        subprocess.run(
            [*COOKIECUTTER, str(template), "-o", str(out)],
            input="\n".join([*typed, ""]),
            text=True,
            encoding="utf-8",
            check=True,
            capture_output=True,
        )
        return next(out.iterdir())

    return type_answers


@pytest.fixture(scope="session")
def rendered_service(template, tmp_path_factory) -> Path:
    """The default render, not installed."""
    return render(template, tmp_path_factory.mktemp("default"))


@pytest.fixture(scope="session")
def installed_service(template, tmp_path_factory) -> Path:
    """The default render with its `.venv`, tools included."""
    project = render(template, tmp_path_factory.mktemp("installed"))
    done = make(project, "install")
    assert done.returncode == 0, done.stdout + done.stderr
    return project


@pytest.fixture
def start_service(installed_service, tmp_path) -> Iterator[Callable[..., RunningService]]:
    """Start the rendered service with variables of your choice; all are stopped at the end.

    `folder` names the folder of its database and log: use one twice for a restart.
    """
    with ExitStack() as stack:

        def start(folder: str = "service", **environment: object) -> RunningService:
            service = RunningService(installed_service, tmp_path / folder, **environment)
            stack.callback(service.stop)
            return service

        yield start


@pytest.fixture
def valkey(tmp_path) -> Iterator[RunningValkey]:
    """A Valkey that the test may stop and start; pass `REDIS_URL=valkey.url`."""
    server = RunningValkey(tmp_path)
    yield server
    server.stop()
