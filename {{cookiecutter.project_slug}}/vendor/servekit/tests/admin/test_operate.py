"""What `reload` and `scale` wait for: as long as workers take turns, and no longer."""

from typing import Any, cast

import pytest

from servekit.admin import operate
from servekit.admin.client import AdminClient, AdminError, NobodyAnswersError
from servekit.admin.operate import NotReachedError, Operator

SECONDS = 90.0
COUNT = 8


class Client(AdminClient):
    """A service whose workers get ready one after the other, `seconds` each, up to `most`."""

    def __init__(self, seconds, most=COUNT):
        self.now = 0.0
        self.seconds, self.most = seconds, most

    def reload(self):
        return {"asked": 2}

    def scale(self, count):
        return {}

    @property
    def done(self):
        return min(int(self.now / self.seconds), self.most)

    def reload_state(self) -> dict[str, Any]:
        current = 2 if self.done else 1
        return {"current": current, "rolling": self.done < COUNT, "failure": {}}

    def workers(self) -> list[dict[str, Any]]:
        return [
            {"slot": slot, "state": "ready", "generation": 2 if slot < self.done else 1}
            for slot in range(COUNT)
        ][: self.done + 1 if self.growing else COUNT]

    growing = False


@pytest.fixture
def operator(monkeypatch):
    def operator(client):
        def sleep(_):
            client.now += 1.0

        clock = cast("Any", type("Clock", (), {"sleep": sleep, "monotonic": lambda: client.now}))
        monkeypatch.setattr(operate, "time", clock)
        return Operator(client, wait=True, seconds=SECONDS)

    return operator


def test_a_reload_waits_for_workers_that_take_turns_however_many_they_are(operator):
    assert operator(Client(60)).reload() == "the new code serves"


def test_scaling_does_too(operator):
    client = Client(60)
    client.growing = True
    assert operator(client).scale(COUNT) == "ready: 8"


@pytest.mark.parametrize("most", [0, 3])
def test_it_gives_up_when_none_got_ready_for_as_long_as_one_may_take(operator, most):
    client = Client(60, most)
    with pytest.raises(NotReachedError, match="not every worker runs the new code after"):
        operator(client).reload()
    assert client.now == pytest.approx(most * 60 + SECONDS, abs=3)


class Stopping(Client):
    """A service that ends after a minute, and answers badly before that."""

    def __init__(self, ends=True):
        super().__init__(0)
        self.ends = ends

    def stop(self) -> None: ...

    def workers(self) -> list[dict[str, Any]]:
        if self.ends and self.now > 60:
            raise NobodyAnswersError("connection refused", gone=True)
        if self.now > 40:
            raise NobodyAnswersError("timed out")
        if self.now > 20:
            raise AdminError("503")
        return []


def test_a_stop_waits_until_nobody_is_there_any_more(operator):
    client = Stopping()
    assert operator(client).stop() == "stopped"
    assert client.now > 60


def test_a_service_that_only_answers_badly_has_not_ended(operator):
    with pytest.raises(NotReachedError, match="it has not ended after"):
        operator(Stopping(ends=False)).stop()
