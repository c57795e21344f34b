"""What the doctor's requests call the service: a name that it answers to."""

import pytest

from servekit import Settings
from servekit.start.doctor import host_of


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
