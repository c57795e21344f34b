import httpx2
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from structlog.testing import capture_logs

from servekit.layers.exception_handlers import ERRORS_BYTES_MAX, problem_handlers
from servekit.problems import problem_responses
from tests.asgi import call


class DownError(Exception):
    pass


class Product(BaseModel):
    name: str
    price: float


def make_client() -> httpx2.AsyncClient:
    app = FastAPI(
        exception_handlers=problem_handlers({DownError: 503, TimeoutError: 504}),
        responses=problem_responses(),
    )

    @app.get("/down")
    async def down():
        raise DownError("redis at 10.0.0.1 with password hunter2")

    @app.get("/slow")
    async def slow():
        raise TimeoutError

    @app.get("/teapot")
    async def teapot():
        raise HTTPException(418, "Short and stout", headers={"X-Pot": "1"})

    @app.get("/unmodified")
    async def unmodified():
        raise HTTPException(304)

    @app.get("/broken")
    async def broken():
        raise ValueError("secret")

    @app.post("/products")
    async def create(product: Product) -> Product:
        return product

    @app.get("/products")
    async def products() -> list[str]:
        return []

    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://test")


async def test_every_error_is_a_problem_with_its_status_and_headers():
    async with make_client() as client:
        for method, path, status in [
            ("GET", "/nowhere", 404),
            ("DELETE", "/products", 405),
            ("GET", "/down", 503),
            ("GET", "/slow", 504),
            ("GET", "/teapot", 418),
        ]:
            response = await client.request(method, path)
            assert response.status_code == status
            assert response.headers["content-type"] == "application/problem+json"
            assert response.json()["status"] == status
            assert response.json()["instance"] == path
        assert (await client.delete("/products")).headers["allow"] == "GET, POST"
        assert (await client.get("/teapot")).headers["x-pot"] == "1"
        assert (await client.get("/teapot")).json()["detail"] == "Short and stout"
        assert (await client.get("/unmodified")).content == b""


async def test_the_text_of_an_exception_stays_inside():
    async with make_client() as client:
        assert "hunter2" not in (await client.get("/down")).text


async def test_503_asks_to_come_back_at_spread_times():
    async with make_client() as client:
        seen = {(await client.get("/down")).headers["retry-after"] for _ in range(40)}
        assert seen <= {"1", "2", "3"}
        assert len(seen) > 1
        assert "retry-after" not in (await client.get("/slow")).headers


async def test_what_is_sent_back_of_bad_input_is_bounded():
    app = FastAPI(exception_handlers=problem_handlers())

    class Row(BaseModel):
        first: int
        second: int

    @app.post("/")
    async def rows(rows: list[Row]) -> int:
        return len(rows)

    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        few = (await client.post("/", json=[{"note": "n" * 10_000}])).json()["detail"]
        many = await client.post("/", json=[{"note": "n" * 10_000}] * 100 + [{}] * 10_000)
    assert [len(error["input"]["note"]) for error in few] == [10_000] * 2
    listed = many.json()["detail"]
    assert len(many.content) < ERRORS_BYTES_MAX + 1000
    assert 400 < len(listed) < 1000
    assert listed[-1].keys() == {"type", "loc", "msg"}


async def test_the_openapi_document_knows_problems():
    async with make_client() as client:
        document = (await client.get("/openapi.json")).json()
        answers = document["paths"]["/products"]["post"]["responses"]
        assert set(answers) == {"200", "default"}
        assert "application/problem+json" in answers["default"]["content"]


async def test_the_log_says_why_a_request_is_answered_5xx_once_in_a_while():
    app = FastAPI(exception_handlers=problem_handlers({DownError: 503, TimeoutError: 409}))

    @app.get("/down")
    async def down() -> None:
        raise DownError("the neighbour: 127.0.0.1:9 refused")

    @app.get("/late")
    async def late() -> None:
        raise TimeoutError

    with capture_logs() as logs:
        for path in ("/down", "/down", "/late"):
            await call(app, path)
    [line] = logs
    assert line == {
        "event": "request_failed",
        "log_level": "warning",
        "cause": "DownError",
        "reason": "the neighbour: 127.0.0.1:9 refused",
        "route": "/down",
        "status": 503,
        "others": 0,
    }
