"""`settings --check --connect`: what does not answer or refuses is a line with its variable."""

import pytest
from pydantic import SecretStr

import redis
from servekit import DatabaseUrl, Settings
from servekit.start.connections import try_connections


class Own(Settings):
    database_url: DatabaseUrl = SecretStr("sqlite:///service.db")


@pytest.fixture
def check(make_settings, tmp_path):
    def check(**values: str) -> list[str]:
        given = {"database_url": f"sqlite:///{tmp_path}/x.db", **values}
        return try_connections(make_settings(Own, **given))

    return check


def test_nothing_is_said_when_everything_answers(check, postgresql_url):
    assert check() == []
    assert check(database_url=postgresql_url) == []


def test_every_server_that_is_away_has_a_line(check):
    url = "postgresql://u:s3cret@127.0.0.1:1/db"
    lines = check(redis_url="redis://:s3cret@127.0.0.1:1", database_url=url)
    assert [line.partition(":")[0] for line in lines] == ["REDIS_URL", "DATABASE_URL"]
    assert all("Connect call failed" in line for line in lines)
    assert "s3cret" not in str(lines)


def test_a_file_that_cannot_be_opened_has_a_line(check, tmp_path):
    [line] = check(database_url=f"sqlite:///{tmp_path}/no/such/folder/x.db")
    assert line == "DATABASE_URL: unable to open database file"


@pytest.mark.parametrize("refused", ["-eval", "-client|tracking", "-ping"])
def test_what_redis_does_not_allow_has_a_line(check, redis_url, refused):
    with redis.Redis.from_url(redis_url) as admin:
        admin.execute_command("ACL", "SETUSER", "u", "reset", "on", ">pw", "~*", "+@all", refused)
        [line] = check(redis_url=redis_url.replace("unix://", "unix://u:pw@"))
        admin.execute_command("ACL", "DELUSER", "u")
    assert line.startswith("REDIS_URL: ")
    assert f"no permissions to run the '{refused[1:]}' command" in line
