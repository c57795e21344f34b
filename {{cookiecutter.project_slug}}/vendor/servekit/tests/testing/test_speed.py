import os

from servekit.testing import patience, speed


def test_nobody_is_less_patient_than_on_a_quiet_machine(monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr(speed, "slowness", lambda: 1.0)
    assert patience(2) == 2


def test_patience_grows_with_the_load_and_on_a_slow_machine_within_reason(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (6.0, 0.0, 0.0))
    monkeypatch.setattr(speed, "slowness", lambda: 2.0)
    assert patience(2) == 12
    monkeypatch.setattr(os, "getloadavg", lambda: (600.0, 0.0, 0.0))
    assert patience(2) == 2 * speed.FACTOR_MAX


def test_the_speed_is_measured_once():
    assert speed.slowness() == speed.slowness() >= 1
