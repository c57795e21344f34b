"""What a cached route may declare to learn who asks, in every style that FastAPI has."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Cookie, Depends, Header, Query
from fastapi.security import (
    APIKeyCookie,
    APIKeyHeader,
    APIKeyQuery,
    HTTPAuthorizationCredentials,
    HTTPBasic,
    HTTPBasicCredentials,
    HTTPBearer,
    OAuth2PasswordBearer,
)
from pydantic import BaseModel


class CookieModel(BaseModel):
    user: str = ""


class GreedyModel(BaseModel, extra="allow"):
    user: str = ""


class HeaderModel(BaseModel):
    x_user: str = ""


async def basic(given: Annotated[HTTPBasicCredentials, Depends(HTTPBasic())]) -> str:
    return given.username


async def bearer(given: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> str:
    return given.credentials


async def cookie(user: Annotated[str, Cookie()] = "") -> str:
    return user


async def header(x_user: Annotated[str, Header()] = "") -> str:
    return x_user


async def renamed(who: Annotated[str, Header(alias="Authorization")] = "") -> str:
    return who


async def query(user: Annotated[str, Query()] = "") -> str:
    return user


async def queries(user: Annotated[list[str], Query()] = []) -> str:  # noqa: B006 - FastAPI's way
    return str(user)


async def cookie_model(model: Annotated[CookieModel, Cookie()]) -> str:
    return str(model)


async def all_cookies(model: Annotated[GreedyModel, Cookie()]) -> str:
    return str(model.model_dump())


async def query_model(model: Annotated[CookieModel, Query()]) -> str:
    return str(model)


async def all_queries(model: Annotated[GreedyModel, Query()]) -> str:
    return str(model.model_dump())


async def header_model(model: Annotated[HeaderModel, Header()]) -> str:
    return str(model)


async def whole_cookie(cookie: Annotated[str, Header()] = "") -> str:
    return cookie


DECLARING: list[Callable[..., Any]] = [
    *(cookie, header, renamed, query, queries, cookie_model, all_cookies, query_model),
    *(all_queries, header_model, whole_cookie),
]


def declarations() -> dict[str, tuple[Callable[..., Any], tuple[str, ...]]]:
    """Return dependencies that declare what they read, each with the `vary=` that it needs."""
    return {
        **{one.__name__: (one, ()) for one in DECLARING},
        "APIKeyCookie": (APIKeyCookie(name="user"), ("cookie:user",)),
        "APIKeyCookie, all": (APIKeyCookie(name="user"), ("cookie",)),
        "APIKeyCookie, lax": (APIKeyCookie(name="user", auto_error=False), ("cookie:user",)),
        "APIKeyHeader": (APIKeyHeader(name="X-User"), ("X-User",)),
        "APIKeyQuery": (APIKeyQuery(name="user"), ("query:user",)),
        "HTTPBearer": (bearer, ("authorization",)),
        "HTTPBasic": (basic, ("Authorization",)),
        "OAuth2PasswordBearer": (OAuth2PasswordBearer(tokenUrl="token"), ("authorization",)),
    }
