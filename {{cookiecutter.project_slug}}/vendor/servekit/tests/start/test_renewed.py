"""What a reload reads again, and how long it waits."""

import sys
from typing import Any

from structlog.testing import capture_logs

from servekit import Settings
from servekit.configuration.environment import load_settings
from servekit.start import launch
from servekit.start.launch import (
    IDLE_SECONDS,
    RELOAD_DRAIN_SECONDS,
    Doubts,
    renewed,
    supervisor_config,
)
from servekit.supervisor.program import SupervisorConfig

LOG_FORM = "info", "auto"


def test_a_reload_says_what_came_into_the_env_file_with_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("COLOUR=red\n")
    settings, doubts = load_settings(Settings), Doubts(LOG_FORM)
    config = supervisor_config(settings, "a:b", ())
    with capture_logs() as logs:
        doubts.say(settings)
        for text in ("COLOUR=red\n", "COLOUR=red\nWORKRES=2\n", "WORKRES=2\n", "COLOUR=red\n"):
            (tmp_path / ".env").write_text(text)
            renewed(settings, config, doubts)
    said = [log["detail"].partition(":")[0] for log in logs if log["event"] == "unknown_setting"]
    assert said == ["COLOUR", "WORKRES", "COLOUR"]


def test_a_save_does_not_wait_long_for_what_the_old_code_answers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = Settings(timeout_drain_seconds=60)
    config = supervisor_config(settings, "a:b", (), reload=True)
    again = renewed(settings, config, Doubts(LOG_FORM), reload=True)
    assert config.limits.drain_seconds == again.limits.drain_seconds == RELOAD_DRAIN_SECONDS
    assert supervisor_config(settings, "a:b", ()).limits.drain_seconds == 60


def test_only_a_reload_by_hand_is_tried_again():
    assert supervisor_config(Settings(), "a:b", ()).retries_code
    assert not supervisor_config(Settings(), "a:b", (), reload=True).retries_code


def test_a_reload_takes_the_form_of_the_log_that_is_set_now(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    applied = []
    monkeypatch.setattr(launch, "configure_logs", lambda *form: applied.append(form))
    settings = load_settings(Settings)
    doubts = Doubts((settings.log_level, settings.log_format))
    config = supervisor_config(settings, "a:b", ())
    for text in ("", "LOG_LEVEL=debug\n", "LOG_LEVEL=debug\n", "LOG_FORMAT=json\n", ""):
        (tmp_path / ".env").write_text(text)
        renewed(settings, config, doubts)
    assert applied == [("debug", "auto"), ("info", "json"), ("info", "auto")]


def test_a_redis_that_is_named_while_an_embedded_one_runs_needs_a_restart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = load_settings(Settings)
    config = supervisor_config(settings, "a:b", ())
    monkeypatch.setenv("REDIS_URL", "unix:///tmp/embedded.sock")  # as its start does
    (tmp_path / ".env").write_text("REDIS_URL=redis://shop:6379/0\n")
    with capture_logs() as logs:
        renewed(settings, config, Doubts(LOG_FORM))
    [said] = [log["settings"] for log in logs if log["event"] == "restart_needed"]
    assert said == ["REDIS_URL"]


def test_at_a_terminal_in_development_nobody_is_killed_at_a_breakpoint(monkeypatch):
    def config(**settings: Any) -> SupervisorConfig:
        return supervisor_config(Settings(**settings), "a:b", ())

    assert (config().hang_seconds, config().start_seconds) == (10, 60)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert (config().hang_seconds, config().start_seconds) == (0, 3600)
    assert config(worker_start_seconds=5).start_seconds == 5
    production = config(
        environment="production",
        secret_key="x" * 40,
        redis_url="redis://h",
        allowed_hosts=["a.example"],
    )
    assert (production.hang_seconds, production.start_seconds) == (10, 60)


def test_workers_are_forked_but_on_macos_unless_told_otherwise(monkeypatch):
    def method(**settings: Any) -> str:
        return supervisor_config(Settings(**settings), "a:b", ()).start_method

    assert (method(), method(worker_start_method="spawn")) == ("fork", "spawn")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert (method(), method(worker_start_method="fork")) == ("spawn", "fork")


def test_a_save_replaces_one_worker_at_once(monkeypatch):
    monkeypatch.setattr(launch, "usable_cpus", lambda: 12)
    config = supervisor_config(Settings(), "a:b", (), reload=True)
    assert (config.workers, config.idle_seconds) == (1, 0)
    assert supervisor_config(Settings(workers=3), "a:b", (), reload=True).workers == 3
    config = supervisor_config(Settings(), "a:b", ())
    assert (config.workers, config.idle_seconds) == (12, IDLE_SECONDS)
