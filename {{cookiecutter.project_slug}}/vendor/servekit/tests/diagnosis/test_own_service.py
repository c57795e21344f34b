"""A service that a doctor starts is ready, keeps off the load's CPU, and ends with it."""

import os
from pathlib import Path

import pytest

from servekit.admin.client import AdminError
from servekit.diagnosis.own_service import own_service, usable
from servekit.testing import patience

PLAIN = """
from fastapi import FastAPI
from servekit import Service, Settings

def create_app(settings: Settings) -> FastAPI:
    app = FastAPI()
    Service(settings).install(app)
    return app
"""
BROKEN = PLAIN.replace("app = FastAPI()", "raise RuntimeError('no pepper')")


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    def write(text):
        (tmp_path / "plain.py").write_text(text)
        monkeypatch.chdir(tmp_path)
        return ["plain:create_app", "servekit:Settings"]

    return write


@pytest.mark.skipif(len(usable()) < 2, reason="there is one CPU: nothing can be left to the load")
def test_it_is_ready_without_the_cpu_of_the_load_and_ends(arguments):
    before = usable()
    with own_service(arguments(PLAIN), token="", seconds=patience(30)) as service:
        rows = service.client.workers()
        assert {row["state"] for row in rows} == {"ready"}
        for row in rows:
            assert os.sched_getaffinity(row["pid"]) == {*before} - service.load_cpus
    assert usable() == before
    assert not [row for row in rows if Path(f"/proc/{row['pid']}").exists()]
    with pytest.raises(AdminError, match="nothing answers"):
        service.client.workers()


def test_the_doctors_ctrl_c_is_not_the_services(arguments):
    """A terminal sends it to a whole group: what is being sampled would drain, and look ill."""
    with own_service(arguments(PLAIN), token="", seconds=patience(30)) as service:
        groups = {os.getpgid(row["pid"]) for row in service.client.workers()}
    assert os.getpgrp() not in groups


def test_why_it_does_not_start_is_told(arguments):
    with (
        pytest.raises(AdminError, match=r"did not start:\n(?s:.*)no pepper"),
        own_service(arguments(BROKEN), token="", seconds=patience(30)),
    ):
        pass
