"""Who waits for a run: answers that are for one only, background tasks, pages that are not kept."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from structlog.testing import capture_logs

from servekit.layers.errors import ErrorsMiddleware
from servekit.response_cache.layer import cache_response
from servekit.sessions.layer import SessionMiddleware, load_session
from servekit.sessions.store import SessionStore
from servekit.testing import patience
from tests.asgi import http_scope
from tests.redis.patient import patient_clients
from tests.response_cache.origin import Origin, is_hit, until, worker

KEPT = [Depends(cache_response(ttl_seconds=30))]


class Crowd:
    """A route that answers once so many runs of it are under way at the same time."""

    def __init__(self):
        self.running = 0
        self.most = 0

    async def __aenter__(self):
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.05)

    async def __aexit__(self, *_):
        self.running -= 1


PERSONAL: dict[str, Callable[[int], Response]] = {
    "cookie": lambda n: Response("page", headers={"set-cookie": f"id={n}"}),
    "cookie on an error": lambda n: Response("", 503, headers={"set-cookie": f"id={n}"}),
    "private": lambda n: Response(str(n), headers={"cache-control": "private"}),
    "private error": lambda n: Response(str(n), 500, headers={"cache-control": "private"}),
    "no-store": lambda n: Response(str(n), headers={"cache-control": "no-store"}),
    "redirect with a cookie": lambda n: Response(
        "", 302, headers={"location": "/", "set-cookie": f"id={n}"}
    ),
}


@pytest.mark.parametrize("kind", PERSONAL)
@pytest.mark.parametrize("workers", [1, 2])
async def test_what_is_for_one_is_given_to_no_one_who_waited_with_him(redis_url, kind, workers):
    app, runs = FastAPI(), list[int]()

    @app.get("/", dependencies=KEPT)
    async def page() -> Response:
        number = len(runs)
        runs.append(number)
        await asyncio.sleep(0.05)
        return PERSONAL[kind](number)

    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(worker(redis_url, app)) for _ in range(workers)]
        answers = await asyncio.gather(*(clients[n % workers].get("/") for n in range(20)))
        answers += [await client.get("/") for client in clients]

    told = [(answer.text, answer.headers.get("set-cookie")) for answer in answers]
    assert len(set(told)) == len(answers) == len(runs)
    assert not any(is_hit(answer) for answer in answers)


@pytest.mark.parametrize("status", [200, 404, 503])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_stranger_who_waits_with_a_user_is_not_logged_in(redis_url, status, streamed):
    """The key was rotated, so that the session's answer has a cookie; the route was ill."""
    app = FastAPI()

    @app.post("/{user}")
    async def log_in(user: str, request: Request) -> None:
        await (await load_session(request)).login(user)

    @app.get("/", dependencies=KEPT)
    async def page(request: Request) -> Response:
        async def text():
            await asyncio.sleep(0.05)
            yield f"hello {(await load_session(request)).user_id}"

        if streamed:
            return StreamingResponse(text(), status)
        return Response("".join([piece async for piece in text()]), status)

    async with AsyncExitStack() as stack:
        clients = await stack.enter_async_context(patient_clients(redis_url))
        old = SessionStore(clients, secret_keys=["old-key-of-the-tests"])
        new = SessionStore(clients, secret_keys=["new-key-of-tests", "old-key-of-the-tests"])

        def wrap(store):
            return lambda app: SessionMiddleware(app, store=store, secure=False)

        async with worker(redis_url, app, wrap=wrap(old)) as client:
            cookies = {}
            for user in ("ada", "eve"):
                client.cookies.clear()
                answer = await client.post(f"/{user}")
                cookies[user] = answer.headers["set-cookie"].partition(";")[0]
        async with worker(redis_url, app, wrap=wrap(new)) as client:
            for _ in range(2):
                client.cookies.clear()
                sent = [{"cookie": cookies[user]} for user in ("ada", "eve")] + [{}, {}]
                answers = await asyncio.gather(*(client.get("/", headers=one) for one in sent))
                texts = [answer.text for answer in answers]
                assert texts == ["hello ada", "hello eve", "hello None", "hello None"]
                assert not any("set-cookie" in answer.headers for answer in answers[2:])


async def test_a_page_that_is_not_kept_is_made_for_all_at_once_and_not_in_turn(redis_url):
    crowd, app = Crowd(), FastAPI()

    @app.get("/", dependencies=KEPT)
    async def page() -> Response:
        async with crowd:
            return Response("page", headers={"cache-control": "private"})

    async with worker(redis_url, app) as one, worker(redis_url, app) as two:
        for client in (one, two):
            await client.get("/")  # it learns
        await asyncio.gather(*(client.get("/") for client in (one, two) for _ in range(10)))

    assert crowd.most == 20


@pytest.mark.parametrize("status", [302, 401, 404])
async def test_a_page_that_can_be_kept_again_is_kept(client_of, status):
    origin, client = client_of
    origin.status = status
    for _ in range(3):
        assert not is_hit(await client.get("/page"))
    origin.status = 200

    async def kept():
        return is_hit(await client.get("/page"))

    await until(kept)


@pytest.fixture
async def client_of(redis_url):
    origin = Origin()
    async with worker(redis_url, origin.app) as client:
        yield origin, client


@pytest.mark.parametrize("kind", ["response", "parameter", "yield"])
async def test_what_a_route_does_after_its_answer_delays_nobody(redis_url, kind):
    app, gate, done, runs = FastAPI(), asyncio.Event(), [], []

    async def task():
        await gate.wait()
        done.append(True)

    async def later():
        yield
        if kind == "yield":
            await task()

    @app.get("/", dependencies=[*KEPT, Depends(later)])
    async def page(tasks: BackgroundTasks) -> Response:
        runs.append(1)
        response = Response("page")
        if kind == "parameter":
            tasks.add_task(task)
        elif kind == "response":
            response.background = BackgroundTasks()
            response.background.add_task(task)
        return response

    async with worker(redis_url, app) as client:
        first = asyncio.create_task(client.get("/"))

        async def runs_now():
            return runs

        await until(runs_now)

        async def hit():
            return is_hit(await client.get("/"))

        async with asyncio.timeout(patience(5)):
            await until(hit)
        assert done == []
        gate.set()
        assert (await first).text == "page"
        assert (len(done), len(runs)) == (1, 1)


async def test_the_answer_leaves_before_its_background_task_and_the_request_ends_after(redis_url):
    app, gate, sent = FastAPI(), asyncio.Event(), []

    @app.get("/", dependencies=KEPT)
    async def page(tasks: BackgroundTasks) -> str:
        tasks.add_task(gate.wait)
        return "page"

    async with worker(redis_url, app) as client:
        layer = client._transport.app
        complete = asyncio.Event()

        async def send(message):
            sent.append(message)
            if not message.get("more_body", message["type"] == "http.response.start"):
                complete.set()

        request = client.build_request("GET", "/")
        scope = scope_of(request)
        running = asyncio.create_task(layer(scope, None, send))
        async with asyncio.timeout(patience(5)):
            await complete.wait()
        assert not running.done()  # a worker that drains waits for it
        gate.set()
        async with asyncio.timeout(patience(5)):
            await running


def scope_of(request):
    return http_scope(request.url.path, headers=list(request.headers.items()))


@pytest.mark.parametrize("in_background", [False, True])
async def test_an_error_after_the_answer_is_one_record(redis_url, in_background):
    app, failing = FastAPI(), list[bool]()

    def fail() -> None:
        if failing:
            raise ValueError("after the answer")

    @app.get("/", dependencies=[Depends(cache_response(ttl_seconds=0.05, stale_seconds=30))])
    async def page(tasks: BackgroundTasks) -> str:
        tasks.add_task(fail)
        return "page"

    async with worker(redis_url, app) as client:
        client._transport.app = ErrorsMiddleware(client._transport.app)
        with capture_logs() as logs:
            if in_background:
                await client.get("/")
                await asyncio.sleep(0.06)
            failing.append(True)
            assert (await client.get("/")).json() == "page"

            async def logged():
                return [entry for entry in logs if entry["event"] == "unhandled_exception"]

            await until(logged)
            await asyncio.sleep(0.02)
        records = [entry for entry in logs if entry["event"] == "unhandled_exception"]

    assert len(records) == 1
    assert "after the answer" in str(records[0]["exc_info"])


async def test_an_answer_that_is_not_completed_is_an_error_and_is_not_kept(redis_url):
    async def half(scope, receive, send):
        scope["servekit.response_cache"].answered_by = origin.policy
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})

    origin = Origin()
    async with worker(redis_url, origin.app, wrap=lambda _: half) as client:
        answers = [await client.get("/page") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [500, 500]
