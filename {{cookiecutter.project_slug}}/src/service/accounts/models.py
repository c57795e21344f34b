"""What clients send and get about users and their sessions."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

Username = Annotated[
    str,
    StringConstraints(
        min_length=3, max_length=32, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", to_lower=True
    ),
]


class Body(BaseModel):
    """A request body: exact types, no unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Credentials(Body):
    """What a login sends; the rules for new passwords don't apply to old ones."""

    username: Username
    password: Annotated[str, StringConstraints(min_length=1, max_length=128)]


class NewUser(Body):
    """What a new user sends."""

    username: Username
    password: Annotated[str, StringConstraints(min_length=8, max_length=128)]


class User(BaseModel):
    """A user, as others may see it."""

    id: int
    username: str


class Login(BaseModel):
    """Who is logged in."""

    user_id: int
    username: str


class SessionReport(BaseModel):
    """A session of the user's own; `current` is the one that asks."""

    id: str
    device: str
    created_at: datetime
    last_used_at: datetime
    current: bool
