"""What a hangup means: a terminal is being closed, or somebody asks for a reload."""

import signal
import time

import pytest

from servekit.supervisor import terminal
from servekit.supervisor.terminal import CLOSING_SECONDS, Terminal


@pytest.fixture(autouse=True)
def _nobody_ignores_the_signal(monkeypatch):
    """Nor does who runs these tests by `nohup`."""
    monkeypatch.setattr(signal, "getsignal", lambda _: signal.SIG_DFL)


@pytest.mark.parametrize(
    ("before", "now", "later", "closing"),
    [
        (True, False, 1.0, True),
        (True, False, CLOSING_SECONDS + 1, False),  # closed long ago: it was disowned
        (True, True, 1.0, False),
        (False, False, 1.0, False),
    ],
)
def test_a_terminal_is_closing_while_it_was_open_a_moment_ago(
    monkeypatch, before, now, later, closing
):
    monkeypatch.setattr(terminal, "is_open", lambda: before)
    started = Terminal()
    clock = time.monotonic() + later
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    monkeypatch.setattr(terminal, "is_open", lambda: now)
    assert started.is_closing is closing


async def test_who_ignored_the_signal_at_the_start_is_to_outlive_the_terminal(monkeypatch):
    monkeypatch.setattr(signal, "getsignal", lambda _: signal.SIG_IGN)
    monkeypatch.setattr(terminal, "is_open", lambda: True)
    started = Terminal()
    await started.watch()
    monkeypatch.setattr(terminal, "is_open", lambda: False)
    assert not started.is_closing


async def test_it_is_looked_at_as_long_as_it_is_open(monkeypatch):
    looks = iter([True, True, True, False])
    monkeypatch.setattr(terminal, "is_open", lambda: next(looks))
    monkeypatch.setattr(terminal, "LOOK_SECONDS", 0.01)
    started = Terminal()
    began = started._open_at
    await started.watch()
    assert started._open_at > began
