"""Features of FastAPI's user guide: what a request brings, and who may send it."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from fastapi import (
    APIRouter,
    Body,
    Cookie,
    Depends,
    FastAPI,
    File,
    Form,
    Header,
    HTTPException,
    Path,
    Query,
    Request,
    Response,
    Security,
    UploadFile,
)
from fastapi.security import (
    APIKeyHeader,
    HTTPBasic,
    HTTPBasicCredentials,
    HTTPBearer,
    OAuth2PasswordBearer,
    OAuth2PasswordRequestForm,
    SecurityScopes,
)
from pydantic import BaseModel, Field


class Size(StrEnum):
    SMALL = "small"
    LARGE = "large"


class Place(BaseModel):
    x: int
    y: Annotated[int, Field(ge=0)] = 0


class Filters(BaseModel):
    model_config = {"extra": "forbid"}

    limit: Annotated[int, Field(gt=0, le=100)] = 10
    tags: list[str] = []


def parameters() -> FastAPI:
    app = FastAPI()

    @app.get("/sizes/{size}")
    async def size(size: Size, wanted: bool = False) -> list[Any]:
        return [size, wanted]

    @app.get("/files/{path:path}")
    async def file(path: str) -> str:
        return path

    @app.get("/numbers/{number}")
    async def number(
        number: Annotated[int, Path(ge=1)],
        q: Annotated[str | None, Query(min_length=2, pattern="^a")] = None,
        many: Annotated[list[int], Query(alias="m")] = [],  # noqa: B006 - as the guide has it
    ) -> list[Any]:
        return [number, q, many]

    @app.get("/aliased/{x}")  # noqa: FAST003 - the alias has it
    async def aliased(y: Annotated[int, Path(validation_alias="x")]) -> int:
        return y

    @app.get("/places/{x}/{y}")  # noqa: FAST003 - the model has both
    async def place(place: Annotated[Place, Path()]) -> Place:
        return place

    @app.get("/filtered")
    async def filtered(filters: Annotated[Filters, Query()]) -> Filters:
        return filters

    @app.get("/headers")
    async def headers(
        x_token: Annotated[list[str], Header()], taste: Annotated[str, Cookie()] = "plain"
    ) -> list[Any]:
        return [x_token, taste]

    @app.get("/types/{id}")
    async def types(id: UUID, at: datetime, wait: timedelta) -> list[Any]:  # noqa: A002 - the guide's
        return [id, at + wait]

    return app


def bodies() -> FastAPI:
    app = FastAPI()

    @app.put("/two")
    async def two(place: Place, size: Annotated[Size, Body()], note: str = "") -> list[Any]:
        return [place, size, note]

    @app.put("/embedded")
    async def embedded(place: Annotated[Place, Body(embed=True)]) -> Place:
        return place

    @app.patch("/part", response_model_exclude_unset=True)
    async def part(place: Place) -> Place:
        return place

    @app.post("/form")
    async def form(name: Annotated[str, Form()], age: Annotated[int, Form()] = 0) -> list[Any]:
        return [name, age]

    @app.post("/upload")
    async def upload(file: UploadFile, raw: Annotated[bytes, File()]) -> list[Any]:
        return [file.filename, (await file.read()).decode(), len(raw)]

    @app.post("/raw", max_body_size=2 * 2**20)
    async def raw(request: Request) -> int:
        return len(await request.body())

    @app.get("/unlabelled")
    async def unlabelled() -> Response:
        return WithoutHeaders()

    return app


class WithoutHeaders(Response):
    """An answer whose head has none, as the specification allows."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"x" * 2000})


class Counter:
    """A dependency with a state; its methods are dependencies too."""

    def __init__(self) -> None:
        self.count = 0

    async def next(self) -> int:
        self.count += 1
        return self.count


def security() -> FastAPI:
    app = FastAPI()
    app.include_router(tokens())
    counter = Counter()

    async def again(number: Annotated[int, Depends(counter.next)]) -> int:
        return number

    async def once() -> int:
        counter.count = 0
        return 0

    @app.get("/counted", dependencies=[Depends(once)])
    async def counted(
        number: Annotated[int, Depends(counter.next)], same: Annotated[int, Depends(again)]
    ) -> list[int]:
        return [number, same]

    @app.get("/basic")
    async def basic(who: Annotated[HTTPBasicCredentials, Depends(HTTPBasic())]) -> str:
        return who.username

    @app.get("/key")
    async def key(key: Annotated[str, Depends(APIKeyHeader(name="x-key"))]) -> str:
        return key

    @app.get("/bearer")
    async def bearer(token: Annotated[Any, Depends(HTTPBearer())]) -> str:
        return str(token.credentials)

    return app


def tokens() -> APIRouter:
    router = APIRouter(tags=["tokens"])
    scheme = OAuth2PasswordBearer("token", scopes={"read": "Read.", "write": "Write."})

    async def user(wanted: SecurityScopes, token: Annotated[str, Depends(scheme)]) -> str:
        if not set(wanted.scopes) <= set(token.split("+")):
            raise HTTPException(403, headers={"www-authenticate": wanted.scope_str})
        return token

    @router.post("/token")
    async def token(form: Annotated[OAuth2PasswordRequestForm, Depends()]) -> dict[str, str]:
        return {"access_token": "+".join(form.scopes), "token_type": "bearer"}

    @router.get("/write")
    async def write(user: Annotated[str, Security(user, scopes=["write"])]) -> str:
        return user

    return router
