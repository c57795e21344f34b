"""What users put around routes works in workers exactly as under a test client without us."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from servekit import Service
from tests.plain.applications import APPLICATIONS, ASKS
from tests.plain.asks import Ask
from tests.plain.ways import in_process, in_workers

FOLDER = Path(__file__).parent / "plain"

pytestmark = pytest.mark.parametrize("name", APPLICATIONS)


@pytest.fixture
async def bare(name) -> list[Any]:
    """What the application answers without a service."""
    return await in_process(APPLICATIONS[name](), ASKS[name])


def assert_same(name, bare, others):
    for ask, expected, found in zip(ASKS[name], bare, others, strict=True):
        if not isinstance(ask, Ask):
            assert found == expected, ask
        elif ask.status_only:
            assert found.status == expected.status, ask
            if expected.text.startswith('{"detail"'):
                assert json.loads(found.text)["detail"] == json.loads(expected.text)["detail"], ask
        else:
            text = found.text
            if ask.path == "/openapi.json":  # a 422 is a problem document, and said to be one
                text = text.replace("application/problem+json", "application/json")
            assert (found.status, text) == (expected.status, expected.text), ask
            assert set(expected.headers) - set(found.headers) == set(), ask


async def test_with_a_service_it_answers_as_without(name, bare, settings):
    app = APPLICATIONS[name]()
    Service(settings).install(app)
    assert_same(name, bare, await in_process(app, ASKS[name]))


async def test_a_service_that_was_there_first_changes_nothing(name, bare, settings, monkeypatch):
    """Whatever is added after `install` counts as much: here, all of it."""
    original = APPLICATIONS[name]
    made = []

    def installed(*arguments, **options):
        made.append(FastAPI(*arguments, **options))
        if len(made) == 1:
            Service(settings).install(made[0])
        return made[-1]

    from fastapi import FastAPI

    monkeypatch.setitem(original.__globals__, "FastAPI", installed)
    assert_same(name, bare, await in_process(original(), ASKS[name]))


async def test_in_workers_it_answers_as_without(name, bare, start_service, tmp_path):
    shutil.copytree(FOLDER, tmp_path / "plain")
    service = start_service("plain", folder=tmp_path, APPLICATION=name, WORKERS=2)
    for _ in range(2):
        assert_same(name, bare, await in_workers(service, ASKS[name]))
