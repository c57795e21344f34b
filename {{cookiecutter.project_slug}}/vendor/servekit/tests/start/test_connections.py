"""`settings --check --connect`: what does not answer or refuses is a line with its variable."""

import re
from pathlib import Path

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


@pytest.fixture
def check_as(check, redis_url):
    """Check as a user of Redis with these rights."""
    with redis.Redis.from_url(redis_url) as admin:

        def check_as(*rights):
            admin.execute_command("ACL", "SETUSER", "u", "reset", "on", ">pw", *rights)
            user = redis_url.replace("unix://", "unix://u:pw@")
            return check(redis_url=user, redis_namespace="shop")

        yield check_as
        admin.execute_command("ACL", "DELUSER", "u")
        assert all(admin.ttl(key) > 0 for key in admin.keys("*"))


GUIDE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
REDIS = GUIDE.split("## What Redis must allow")[1].split("\n## ")[0]
RIGHTS = REDIS.split("```")[1].split("nopass")[1].split()
COMMANDS = [right for right in RIGHTS if right.startswith("+") and "@" not in right]
KEYS = re.findall(r"`([a-z-]+:?\*)`", REDIS)


def test_the_user_of_the_guide_may_all_that_is_needed(check_as):
    assert len(COMMANDS) > 25
    assert check_as(*RIGHTS) == []
    assert check_as(*RIGHTS, "resetkeys", *(f"~shop:{key}" for key in KEYS)) == []


@pytest.mark.parametrize("right", [*COMMANDS, "+client|tracking", "+ping"])
def test_each_command_of_the_guide_that_is_missing_has_a_line(check_as, right):
    [line] = check_as(*RIGHTS, f"-{right[1:]}")
    assert line.startswith("REDIS_URL: ")
    assert "permission" in line or "can't run this command" in line


@pytest.mark.parametrize("key", KEYS)
def test_each_kind_of_keys_that_is_missing_has_a_line(check_as, key):
    others = [f"~shop:{each}" for each in KEYS if each != key]
    [line] = check_as(*RIGHTS, "resetkeys", *others)
    assert line.startswith("REDIS_URL: ")
    assert "permission" in line


def test_a_large_server_is_not_walked_through(check, redis_url):
    with redis.Redis.from_url(redis_url) as admin:
        admin.mset({f"others:{number}": 1 for number in range(5000)})
        admin.config_resetstat()
        assert check(redis_url=redis_url) == []
        assert admin.info("commandstats")["cmdstat_scan"]["calls"] <= len(KEYS)
        admin.flushdb()
