"""What HTTPException and bad input come back as: all that FastAPI says, and the problem beside."""

import asyncio
import json
from typing import Annotated, Any

import fastapi
import httpx2
import pytest
import starlette.exceptions
from fastapi import Body, Cookie, FastAPI, Form, Header, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from hypothesis import HealthCheck, given, settings, strategies as some
from pydantic import BaseModel, Field, SecretStr, field_validator

from servekit import Service, Settings
from servekit.problems import problem_responses

FRESH = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
SETTINGS = Settings(redis_url=SecretStr("redis://127.0.0.1:1"), allowed_hosts=["*"])
RAISED: dict[str, Exception] = {}
NUMBERS = some.integers() | some.floats(allow_nan=False, allow_infinity=False)
TEXTS = some.text(max_size=20)
LEAVES = some.none() | some.booleans() | NUMBERS | TEXTS
VALUES = some.recursive(
    LEAVES,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(TEXTS, inner, max_size=3),
)
STATUSES = [100, 204, 205, 304, 400, 401, 403, 404, 409, 410, 418, 422, 429, 500, 503]
FIELDS = some.dictionaries(
    some.sampled_from(["X-Reason", "WWW-Authenticate", "Retry-After", "Allow", "Cache-Control"]),
    some.text(some.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=9),
    max_size=3,
)


class Line(BaseModel):
    count: int = Field(gt=0)
    note: Annotated[str, Field(max_length=3)] = ""


class Order(BaseModel):
    name: str = Field(min_length=2, pattern="^[a-z]+$")
    lines: list[Line] = Field(min_length=1)
    prices: dict[str, float] = {}
    password: SecretStr = Field(default=SecretStr(""), max_length=5)

    @field_validator("name")
    @classmethod
    def _own(cls, name: str) -> str:
        if name == "root":
            raise ValueError("not this one")
        return name


def make_app() -> FastAPI:
    app = FastAPI()

    @app.get("/raise")
    async def fail() -> None:
        raise RAISED["next"]

    @app.post("/order/{number}")
    async def order(
        number: int,
        order: Order,
        size: Annotated[int, Query(le=9)],
        x_token: Annotated[list[str], Header(min_length=2)],
        visits: Annotated[int, Cookie()] = 0,
    ) -> None:
        pass

    @app.post("/form")
    async def form(age: Annotated[int, Form()], agreed: Annotated[bool, Form()]) -> None:
        pass

    @app.post("/any")
    async def anything(value: Annotated[int, Body(embed=True)]) -> None:
        pass

    return app


def ours(app: FastAPI) -> FastAPI:
    Service(SETTINGS).install(app)
    return app


PLAIN, OURS = make_app(), ours(make_app())


async def ask(app: FastAPI, method: str, path: str, **request: Any) -> httpx2.Response:
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.request(method, path, **request)


async def compare(method: str, path: str, **request: Any) -> httpx2.Response:
    """Send a request to both, and hold ours to all that FastAPI answers."""
    theirs = await ask(PLAIN, method, path, **request)
    answer = await ask(OURS, method, path, **request)
    if theirs.status_code == 500 and theirs.text == "Internal Server Error":
        return answer  # what FastAPI cannot send
    assert answer.status_code == theirs.status_code
    own = {"content-type", "content-length"}
    fields = [field for field in theirs.headers.multi_items() if field[0] not in own]
    assert set(fields) <= set(answer.headers.multi_items())
    if theirs.content:
        assert theirs.json().items() <= answer.json().items()
        assert answer.headers["content-type"] == "application/problem+json"
        assert {"type", "title", "status", "request_id"} <= answer.json().keys()
    else:
        assert not answer.content
    return answer


@FRESH
@given(some.sampled_from(STATUSES), VALUES, FIELDS, some.booleans())
def test_an_http_exception_comes_back_as_it_was_raised(status, detail, headers, of_starlette):
    kind: Any = starlette.exceptions.HTTPException if of_starlette else HTTPException
    RAISED["next"] = kind(status, detail, headers or None)
    asyncio.run(compare("GET", "/raise"))


@pytest.mark.parametrize(
    "detail",
    ["", 0, False, [], {}, "Not Found", {1: {"deep": [None]}}, 2**70, ("a", "b"), "half \ud800"],
)
async def test_every_detail_arrives(detail):
    RAISED["next"] = HTTPException(404, detail)
    answer = await compare("GET", "/raise")
    assert answer.json()["detail"] == json.loads(json.dumps(detail))


@FRESH
@given(
    some.fixed_dictionaries(
        {}, optional={"name": VALUES, "lines": VALUES, "prices": VALUES, "password": VALUES}
    )
    | VALUES,
    some.sampled_from(["1", "x", "9" * 30]),
    some.dictionaries(some.sampled_from(["size", "other"]), TEXTS, max_size=2),
)
def test_bad_input_is_told_in_the_words_of_fastapi(body, number, query):
    asyncio.run(compare("POST", f"/order/{number}", json=body, params=query))


@pytest.mark.parametrize(
    "request_",
    [
        {"json": {"name": "root", "lines": [{"count": 0, "note": "long"}]}},
        {"json": {"name": "x", "lines": [{}], "password": "hunter2"}},
        {"content": b"{broken", "headers": {"content-type": "application/json"}},
        {"content": b'{"name": NaN}', "headers": {"content-type": "application/json"}},
        {"content": b'{"name": "\\ud800"}', "headers": {"content-type": "application/json"}},
        {"content": b"\xff\xfe", "headers": {"content-type": "text/plain"}},
        {"content": b"\xff", "headers": {"content-type": "application/json"}},
        {"headers": {"cookie": "visits=many"}},
        {},
    ],
)
async def test_bad_input_of_every_kind_is_a_list_of_errors(request_):
    answer = await compare("POST", "/order/x?size=10", **request_)
    assert answer.status_code in {400, 422}
    if answer.status_code == 422:
        assert {"type", "loc", "msg"} <= answer.json()["detail"][0].keys()


@pytest.mark.parametrize("fields", [{}, {"age": "x"}, {"age": "1", "agreed": "perhaps"}])
async def test_forms_too(fields):
    assert (await compare("POST", "/form", data=fields)).status_code == 422
    assert (await compare("POST", "/form", files={"age": b"\xff"}, data=fields)).status_code == 422


@pytest.mark.parametrize(("method", "path"), [("GET", "/nowhere"), ("PUT", "/any")])
async def test_what_the_router_answers_too(method, path):
    await compare(method, path)


async def told(request: Request, error: Exception) -> Response:
    return Response(type(error).__name__, 299)


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize(
    ("key", "path", "error"),
    [
        (fastapi.HTTPException, "/raise", HTTPException(410)),
        (starlette.exceptions.HTTPException, "/raise", HTTPException(410)),
        (starlette.exceptions.HTTPException, "/nowhere", None),
        (410, "/raise", HTTPException(410)),
        (404, "/nowhere", None),
        (RequestValidationError, "/order/x", None),
    ],
)
async def test_a_handler_of_the_users_own_wins(key, path, error, late):
    app = make_app()
    if not late:
        app.add_exception_handler(key, told)
    ours(app)
    if late:
        app.add_exception_handler(key, told)
    RAISED["next"] = error
    answer = await ask(app, "POST" if "order" in path else "GET", path)
    assert answer.status_code == 299


@pytest.mark.parametrize("responses", [{}, problem_responses(), {"4XX": {"description": "Bad"}}])
async def test_the_openapi_document_says_what_is_sent(responses):
    plain, app = FastAPI(responses=responses), FastAPI(responses=responses)
    for each in (plain, app):
        each.include_router(make_app().router)
    document = (await ask(ours(app), "GET", "/openapi.json")).json()
    theirs = plain.openapi()
    for path, operations in theirs["paths"].items():
        for method, operation in operations.items():
            answers = document["paths"][path][method]["responses"]
            if "4XX" in responses:
                assert answers == operation["responses"]
            elif path != "/raise":
                assert list(answers["422"]["content"]) == ["application/problem+json"]
                [content] = answers["422"]["content"].values()
                assert content == {"schema": {"$ref": "#/components/schemas/HTTPValidationError"}}
            else:
                assert "422" not in answers
    if "4XX" not in responses:
        schemas = make_app().openapi()["components"]["schemas"]
        assert document["components"]["schemas"] == schemas


async def test_the_openapi_document_stays_fastapis_where_the_handler_is_the_users():
    app = ours(make_app())
    app.add_exception_handler(RequestValidationError, told)
    assert app.openapi() == make_app().openapi()
    assert app.openapi() == app.openapi()


@pytest.mark.parametrize("late", [True, False])
async def test_a_document_that_the_user_makes_says_what_is_sent_too(late):
    app = FastAPI(responses=problem_responses())
    app.include_router(make_app().router)

    def own() -> dict[str, Any]:
        if not app.openapi_schema:
            app.openapi_schema = get_openapi(title="Own", version="1", routes=app.routes)
        return app.openapi_schema

    if not late:
        app.openapi = own  # type: ignore[method-assign] # as FastAPI's text on extending it says
    ours(app)
    if late:
        app.openapi = own  # type: ignore[method-assign]
    document = (await ask(app, "GET", "/openapi.json")).json()
    assert document["info"]["title"] == "Own"
    usual = (await ask(ours(make_app()), "GET", "/openapi.json")).json()
    answers = document["paths"]["/order/{number}"]["post"]["responses"]
    assert answers["422"] == usual["paths"]["/order/{number}"]["post"]["responses"]["422"]
