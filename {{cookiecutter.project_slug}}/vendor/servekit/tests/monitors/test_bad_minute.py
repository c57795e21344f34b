"""The profile of a bad minute: kept, named in the log, few, and nothing where nobody can write."""

import asyncio
import errno
import os
import time
import urllib.request
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from servekit.monitors import bad_minute
from servekit.monitors.bad_minute import BadMinute
from servekit.monitors.loop_monitor import LoopMonitor
from servekit.testing import patience

APPLICATION = """
import time

from fastapi import FastAPI
from servekit import Service, Settings, main
from servekit.monitors import bad_minute

bad_minute.BAD_SECONDS, bad_minute.PROFILE_SECONDS = 0.5, 1.0

def create_app(settings: Settings) -> FastAPI:
    service = Service(settings)
    app = FastAPI()
    service.install(app)

    @app.get("/")
    async def block() -> None:
        time.sleep(0.2)

    return app

if __name__ == "__main__":
    raise SystemExit(main("late:create_app", settings="servekit:Settings"))
"""


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(bad_minute, "BAD_SECONDS", 0.2)
    monkeypatch.setattr(bad_minute, "PROFILE_SECONDS", 0.3)
    monkeypatch.setattr(bad_minute, "LAG_SECONDS", 0.02)


def block():
    time.sleep(0.05)


async def be_late(until, seconds=5.0):
    """Block the loop again and again until something is so, or for some seconds."""
    ends = time.monotonic() + patience(seconds)
    while not until() and time.monotonic() < ends:
        block()
        await asyncio.sleep(0)


@asynccontextmanager
async def watched(folder: Path, *, files: int = 3):
    """Watch this loop; yield the records of the log, and what keeps profiles."""
    with capture_logs() as records:
        async with (
            LoopMonitor(registry=CollectorRegistry()) as monitor,
            BadMinute(monitor, folder=lambda: folder, files=files) as kept,
        ):
            yield records, kept


def files_in(folder):
    return sorted(str(file) for file in folder.iterdir())


async def test_the_profile_names_what_kept_the_loop_and_the_log_names_the_file(tmp_path):
    folder = tmp_path / "new" / "folder"
    async with watched(folder) as (records, _):
        await be_late(lambda: records)
    [record] = records
    assert record["event"] == "profile_kept"
    assert record["lag_seconds"] >= 0.02
    assert files_in(folder) == [record["file"]]
    assert "block (" in (folder / record["file"]).read_text()


async def test_only_the_last_profiles_stay(tmp_path, monkeypatch):
    names = iter(range(9))
    monkeypatch.setattr(time, "strftime", lambda _: f"{next(names)}")
    kept = []
    for _ in range(4):
        async with watched(tmp_path, files=2) as (records, _):
            await be_late(lambda records=records: records)
        kept += [record["file"] for record in records]
    assert len(kept) == 4
    assert files_in(tmp_path) == kept[-2:]


async def test_one_bad_minute_is_one_profile(tmp_path):
    async with watched(tmp_path) as (records, _):
        await be_late(lambda: False, seconds=1.5)
    assert len(records) == 1


def taken_by_another(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    return tmp_path


def not_a_folder(tmp_path, _monkeypatch):
    (tmp_path / "file").touch()
    return tmp_path / "file"


def not_to_be_made(_tmp_path, _monkeypatch):
    return Path("/proc/none")


@pytest.mark.parametrize("made", [taken_by_another, not_a_folder, not_to_be_made])
async def test_where_no_file_can_be_written_it_is_said_once_and_nothing_is_sampled(
    made, tmp_path, monkeypatch
):
    folder = made(tmp_path, monkeypatch)
    monkeypatch.setattr(bad_minute, "QUIET_SECONDS", 0.1)
    monkeypatch.setattr(bad_minute, "StackSampler", None)
    async with watched(folder) as (records, _):
        await be_late(lambda: False, seconds=1.5)
    [record] = records
    assert record["event"] == "profile_not_kept"
    assert str(folder) in record["reason"]


async def test_where_no_file_is_wanted_there_is_none(tmp_path):
    async with watched(tmp_path, files=0) as (records, _):
        await be_late(lambda: False, seconds=1.5)
    assert records == files_in(tmp_path) == []


async def test_a_loop_at_ease_is_not_sampled(tmp_path):
    async with watched(tmp_path) as (records, _):
        await asyncio.sleep(0.5)
    assert records == files_in(tmp_path) == []


async def test_a_worker_that_ends_meanwhile_writes_what_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr(bad_minute, "PROFILE_SECONDS", 600)
    async with watched(tmp_path) as (records, kept):
        await be_late(lambda: kept._thread is not None)
        await be_late(lambda: False, seconds=0.03)
    assert [record["event"] for record in records] == ["profile_kept"]


def test_a_running_service_whose_loop_is_blocked_keeps_a_profile(start_service, tmp_path):
    (tmp_path / "late.py").write_text(APPLICATION)
    folder = tmp_path / "profiles"
    service = start_service("late", folder=tmp_path, WORKERS=1, PROFILE_FOLDER=folder)
    ends = time.monotonic() + patience(20)
    while not service.events("profile_kept") and time.monotonic() < ends:
        urllib.request.urlopen(service.url, timeout=patience(10)).close()
    [record] = service.events("profile_kept")
    assert record["file"].startswith(f"{folder}/")
    assert "create_app.<locals>.block (" in Path(record["file"]).read_text()


async def test_one_long_call_is_no_bad_minute_though_the_lag_is_smoothed(tmp_path, monkeypatch):
    monkeypatch.setattr(bad_minute, "BAD_SECONDS", 1.5)
    async with watched(tmp_path) as (records, kept):
        time.sleep(1.0)  # noqa: ASYNC251 - the long call
        await asyncio.sleep(0.05)
        lagging = 0
        while kept._monitor.lag_seconds > bad_minute.LAG_SECONDS:
            lagging += 1
            await asyncio.sleep(0.05)
        assert lagging > 10
    assert records == []


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_newest_profile_stays_whatever_the_clock_says(tmp_path, count):
    for number, name in enumerate(["20261101-0230", "20261101-0259"]):
        file = tmp_path / f"{name}{bad_minute.ENDING}"
        file.touch()
        os.utime(file, (2000 + number, 2000 + number))
    new = tmp_path / f"20261101-0210{bad_minute.ENDING}"
    new.touch()
    os.utime(new, (1000, 1000))
    bad_minute.keep_newest(tmp_path, count, new)
    assert new.exists()
    assert len(list(tmp_path.iterdir())) == count


def test_a_profile_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def full(_self: Path, _target: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        bad_minute.write(tmp_path, "a 1")
    assert list(tmp_path.iterdir()) == []
