import json

from servekit.problems import problem_body, problem_headers, send_problem, status_of


async def test_a_problem_has_the_members_of_rfc_9457_and_is_never_stored():
    sent = []

    async def send(message):
        sent.append(message)

    await send_problem(send, 503, detail="busy", headers=[(b"Retry-After", b"2")], pool="cpu")
    headers = dict(sent[0]["headers"])
    assert sent[0]["status"] == 503
    assert headers[b"content-type"] == b"application/problem+json"
    assert headers[b"cache-control"] == b"no-store"
    assert headers[b"retry-after"] == b"2"
    assert int(headers[b"content-length"]) == len(sent[1]["body"])
    assert json.loads(sent[1]["body"]) == {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "busy",
        "pool": "cpu",
    }


def test_empty_members_and_unknown_statuses_make_a_valid_problem():
    assert json.loads(problem_body(599, instance=None)) == {
        "type": "about:blank",
        "title": "Error",
        "status": 599,
        "detail": "Error",
    }


def test_a_given_header_replaces_the_default():
    headers = problem_headers(b"{}", [(b"Cache-Control", b"max-age=1")])
    assert [value for name, value in headers if name == b"cache-control"] == [b"max-age=1"]


def test_an_exception_of_ones_own_is_unknown_whatever_caused_it():
    error = RuntimeError()
    error.__cause__ = TimeoutError()
    assert status_of(error, {OSError: 504}) == 500
    assert status_of(error.__cause__, {OSError: 504}) == 504
    assert status_of(ValueError(), {OSError: 504}) == 500
