"""What the doctor's requests call the service: a name that it answers to."""

import argparse

import pytest

from servekit import Settings
from servekit.start.doctor import add_doctor, examined, host_of


@pytest.mark.parametrize(
    ("allowed", "base", "host"),
    [
        (["localhost", "127.0.0.1"], "http://127.0.0.1:8000", ""),
        (["*"], "http://127.0.0.1:8000", ""),
        (["[::1]"], "http://[::1]:8000", ""),
        (["shop.example", "127.0.0.2"], "http://127.0.0.1:8000", "shop.example"),
        (["*.shop.example"], "http://127.0.0.1:8000", "www.shop.example"),
        ([], "http://127.0.0.1:8000", ""),
    ],
)
def test_a_service_reached_by_an_address_that_it_refuses_is_called_by_its_name(allowed, base, host):
    assert host_of(Settings(environment="test", allowed_hosts=allowed), base) == host


@pytest.mark.parametrize(("url", "host"), [("/", "shop.example"), ("http://127.0.0.1:1/", "")])
def test_a_path_is_asked_by_that_name_and_a_whole_address_as_it_stands(monkeypatch, url, host):
    asked = []

    def examine(_client, wanted):
        asked.append(wanted.host)
        return 0, ""

    monkeypatch.setattr("servekit.diagnosis.doctor.examine", examine)
    monkeypatch.setattr("servekit.start.doctor.running", lambda *_: None)
    add_doctor(parser := argparse.ArgumentParser())
    settings = Settings(environment="test", allowed_hosts=["shop.example"])
    assert examined(settings, parser.parse_args(["--url", url]), ("", "")) == 0
    assert asked == [host]
