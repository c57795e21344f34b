"""What clients of the application under test send and get."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

NO_NUL = r"^[^\x00]*$"

Username = Annotated[
    str,
    StringConstraints(
        min_length=3, max_length=32, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", to_lower=True
    ),
]


def whole(given: object) -> object:
    """Return 1 for 1.0, which JSON Schema takes for an integer too; anything else as it is."""
    return int(given) if isinstance(given, float) and given.is_integer() else given


# The last that every reader of JSON keeps exact (RFC 8259, 6): OpenAPI writes limits as doubles.
ProductId = Annotated[int, Field(ge=1, le=2**53 - 1), BeforeValidator(whole)]
Tag = Annotated[str, StringConstraints(min_length=1, max_length=50, pattern=NO_NUL)]


class Body(BaseModel):
    """A request body: exact types, no unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Credentials(Body):
    """What a registration and a login send."""

    username: Username
    password: Annotated[str, StringConstraints(min_length=8, max_length=128)]


class Login(BaseModel):
    """A user, as others may see it."""

    user_id: int
    username: str


class SessionReport(BaseModel):
    """A session of the user's own; `current` is the one that asks."""

    id: str
    created_at: datetime
    current: bool


class ProductWrite(Body):
    """A product as a client writes it."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NO_NUL)]
    price: Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
    tags: Annotated[list[Tag], Field(max_length=20)] = []
    description: Annotated[str, StringConstraints(max_length=4000, pattern=NO_NUL)] = ""


class Product(ProductWrite):
    """A product of the catalogue."""

    id: ProductId


class Index(BaseModel):
    """What answers here."""

    name: str
    version: str
