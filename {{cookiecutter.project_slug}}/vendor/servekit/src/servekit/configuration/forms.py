"""The forms that settings have: what is read into them, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from servekit.notation.places import (
    allowed_host,
    listen_host,
    origin,
    path_prefix,
    read_all,
    root_path,
)
from servekit.notation.urls import Refused, refuse_placeholder
from servekit.notation.words import split_keys, split_words, unquoted
from servekit.redis.url import parse_redis_url


def read_redis(given: SecretStr) -> SecretStr:
    """Return the URL of a Redis that a client can be made for; empty where there is none."""
    url = unquoted(given.get_secret_value())
    if url:
        parse_redis_url(url)
    return SecretStr(url)


def read_keys(given: SecretStr) -> SecretStr:
    """Return keys, of which there is one: between commas or line ends, or a list in JSON."""
    refuse_placeholder(given.get_secret_value())
    if not split_keys(given.get_secret_value()):
        raise Refused("holds no key between its commas: `openssl rand -hex 32` makes one")
    return given


def read_token(given: SecretStr) -> SecretStr:
    """Return what a client can send in a header."""
    refuse_placeholder(given.get_secret_value())
    if any(not "!" <= character <= "~" for character in given.get_secret_value()):
        raise Refused("holds blanks or special characters, which no client can send")
    return given


def read_listened(given: str) -> str:
    """Return comma-separated addresses to listen on, of which there is one."""
    words = split_words(given)
    if not words:
        raise Refused("names no address: write it as 0.0.0.0, :: or unix:/run/service.sock")
    hosts = list(dict.fromkeys(listen_host(word) for word in words))
    numbers = [host for host in hosts if re.fullmatch("[0-9.]+", host)]
    if "0.0.0.0" in numbers and len(numbers) > 1:
        other = next(host for host in numbers if host != "0.0.0.0")
        raise Refused(f"names {other} beside 0.0.0.0, which is every address: leave it out")
    return ",".join(hosts)


def read_folder(given: str) -> str:
    """Return the path of a folder, which may not be there yet; empty where there is none."""
    path = Path(unquoted(given)).expanduser()
    if given and path.exists() and not path.is_dir():
        raise Refused("is no folder")
    return str(path) if given else ""


Folder = Annotated[str, AfterValidator(read_folder)]
HeaderToken = Annotated[SecretStr, AfterValidator(read_token)]
HostNames = Annotated[list[str], AfterValidator(lambda given: read_all(given, allowed_host))]
ListenHost = Annotated[
    str, Field(min_length=1), AfterValidator(lambda given: listen_host(unquoted(given)))
]
ListenHosts = Annotated[str, Field(min_length=1), AfterValidator(read_listened)]
Origins = Annotated[list[str], AfterValidator(lambda given: read_all(given, origin))]
PathPrefixes = Annotated[list[str], AfterValidator(lambda given: read_all(given, path_prefix))]
RedisUrlText = Annotated[SecretStr, AfterValidator(read_redis)]
RootPath = Annotated[str, AfterValidator(lambda given: root_path(unquoted(given)))]
SigningKeys = Annotated[SecretStr, Field(min_length=1), AfterValidator(read_keys)]
