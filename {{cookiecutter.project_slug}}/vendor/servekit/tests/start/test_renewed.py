"""What a reload reads again, and how long it waits."""

from structlog.testing import capture_logs

from servekit import Settings
from servekit.configuration.environment import load_settings
from servekit.start.launch import RELOAD_DRAIN_SECONDS, Doubts, renewed, supervisor_config


def test_a_reload_says_what_came_into_the_env_file_with_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("COLOUR=red\n")
    settings, doubts = load_settings(Settings), Doubts()
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
    again = renewed(settings, config, Doubts(), reload=True)
    assert config.limits.drain_seconds == again.limits.drain_seconds == RELOAD_DRAIN_SECONDS
    assert supervisor_config(settings, "a:b", ()).limits.drain_seconds == 60


def test_only_a_reload_by_hand_is_tried_again():
    assert supervisor_config(Settings(), "a:b", ()).retries_code
    assert not supervisor_config(Settings(), "a:b", (), reload=True).retries_code
