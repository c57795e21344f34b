"""What `service.add` opens with every worker, and what it refuses at once."""

import contextlib

import pytest


class Pump:
    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        return None


@contextlib.asynccontextmanager
async def pump():
    yield


class OnlyHalf:
    async def __aenter__(self):
        return self


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (Pump, r"add\(Pump\) was given what makes a part: add the part, Pump\(\.\.\.\)"),
        (pump, r"add\(pump\) was given what makes a part"),
        (Pump.__aenter__, "was given what makes a part"),
        (OnlyHalf(), "OnlyHalf has no __aenter__ and __aexit__"),
        (contextlib.nullcontext, "was given what makes a part"),
        (open, "was given what makes a part"),
        (None, "NoneType has no __aenter__"),
        ("redis", "str has no __aenter__"),
    ],
)
def test_what_is_no_part_is_refused_when_it_is_added(service, part, why):
    before = list(service.parts)
    with pytest.raises(TypeError, match=why):
        service.add(part)
    assert service.parts == before


def test_what_is_a_part_is_added(service):
    for part in (Pump(), pump(), contextlib.AsyncExitStack()):
        assert service.add(part) is part
