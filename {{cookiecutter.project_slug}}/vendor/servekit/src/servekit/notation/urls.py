"""Addresses with passwords in them, taken apart without ever repeating what they hold."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

HOST = re.compile(r"(?=.{1,253}$)(?!-)[a-z0-9_-]{1,63}(\.(?!-)[a-z0-9_-]{1,63})*\.?", re.IGNORECASE)
IPV6 = re.compile(r"[0-9a-f:.]*:[0-9a-f:.]*(%[a-z0-9]+)?", re.IGNORECASE)
OPTION = re.compile(r"[a-z][a-z0-9_.-]{0,40}", re.IGNORECASE)
READ_IN_TWO_WAYS = re.compile("[ßẞς\u200c\u200d]")
"""Characters that Python's IDNA of 2003 changes, and browsers keep."""
LOGIN = re.compile(r"(?s)(^[a-z][a-z0-9+.-]*://)?.*@", re.IGNORECASE)
"""Up to the last `@`: what stands before may all be a password that is badly encoded."""
PORT_MAX = 65_535
ENCODE = (
    "percent-encode special characters of user and password "
    "(`#` is %23, `/` is %2F, `?` is %3F, `@` is %40)"
)


PLACEHOLDER = re.compile(r"\$\{.*?\}|\$\(.*?\)", re.DOTALL)
"""What shells, compose, Kubernetes and workflows put a value for, where they know one."""


class Refused(ValueError):  # noqa: N818 - said of a value, as in `raise Refused(why)`
    """A value cannot be used; the text says why and what to write, and holds nothing secret."""


def without_login(text: str) -> str:
    """Return an address without user and password, for messages."""
    return LOGIN.sub(lambda match: f"{match[1] or ''}***@", text, count=1)


def refuse_placeholder(text: str, remedy: str = "") -> None:
    """Refuse a text in which a value should have been put.

    Raises:
        Refused: It holds `${…}` or `$(…)`.
    """
    if found := PLACEHOLDER.search(text):
        form = f"{found[0][:2]}…{found[0][-1]}"
        raise Refused(f"holds {form}, in place of which no value was put{remedy}")


@dataclass(frozen=True)
class Address:
    """`scheme://username:password@host:port,host:port/path?name=value`, percent-decoded."""

    scheme: str
    username: str | None
    password: str | None
    hosts: tuple[tuple[str, int | None], ...]
    path: str
    options: dict[str, str]


def split_url(text: str) -> Address:
    """Take an address apart; a part that is missing is empty, or None.

    Raises:
        Refused: It is no address, or not one way to read it is safe.
    """
    scheme, separator, rest = text.partition("://")
    refuse_placeholder(text, "; a `$` that is meant is %24")
    if not separator:
        raise Refused("has no scheme, as in redis:// or postgresql://")
    if any(character <= " " or character == "\x7f" for character in text):
        raise Refused("holds a blank or a control character; percent-encode it (a blank is %20)")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    tail = rest[len(authority) :]
    # Whatever follows may be half of a password, so none of it is looked at or repeated.
    if "@" in tail or "#" in tail:
        raise Refused(ENCODE)
    path, _, query = tail.partition("?")
    login, at, places = authority.rpartition("@")
    username, colon, password = login.partition(":")
    return Address(
        scheme=scheme.lower(),
        username=decoded(username) if at and username else None,
        password=decoded(password) if colon else None,
        hosts=tuple(read_place(decoded(place)) for place in places.split(",") if places),
        path=decoded(path),
        options=read_options(query),
    )


def decoded(text: str) -> str:
    """Undo percent-encoding."""
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise Refused("holds percent-encoding that is no UTF-8 (`%` itself is %25)") from None


def read_place(text: str) -> tuple[str, int | None]:
    """Return the host and the port of `host:port`; a host that is a path stays as it is."""
    if text.startswith("/"):
        return text, None
    has_port = ":" in text.rpartition("]")[2]
    host, _, port = text.rpartition(":") if has_port else (text, "", "")
    number = read_port(port) if port else None
    if host.startswith("[") and host.endswith("]"):
        if not IPV6.fullmatch(host[1:-1]):
            raise Refused("has a host in brackets that is no IPv6 address")
        return host[1:-1].lower(), number
    if not host:
        raise Refused("names no host")
    return read_host(host), number


def read_port(text: str) -> int:
    """Return a port number."""
    if not re.fullmatch("[0-9]{1,5}", text) or not 0 < int(text) <= PORT_MAX:
        raise Refused(f"has a port that is no number from 1 to {PORT_MAX}; {ENCODE}")
    return int(text)


def read_host(text: str) -> str:
    """Return a host name in lower case, an international one as name servers know it."""
    if text.isascii():
        name = text
    elif READ_IN_TWO_WAYS.search(text):
        raise Refused("has a host with ß, ς or a joiner, which has two forms: write it as xn--…")
    else:
        try:
            name = text.encode("idna").decode("ascii")
        except UnicodeError:
            raise Refused("has a host that is no host name") from None
    if not HOST.fullmatch(name):
        raise Refused("has a host that is no host name")
    return name.lower()


def read_options(query: str) -> dict[str, str]:
    """Return `name=value&…` as a dictionary, percent-decoded; each name once."""
    found: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        name, equals, value = part.partition("=")
        if not equals or not OPTION.fullmatch(name):
            raise Refused(f"has options that are not name=value, joined by `&`; {ENCODE}")
        if name in found:
            raise Refused(f"says {name} twice")
        if "+" in value:  # a blank to forms and some drivers, a plus to libpq and in passwords
            raise Refused("has an option with `+`: write a plus as %2B, a blank as %20")
        found[name] = decoded(value)
    return found


def read_switch(name: str, text: str) -> bool:
    """Return whether an option is on."""
    words = {"true": True, "yes": True, "on": True, "1": True}
    words |= {"false": False, "no": False, "off": False, "0": False}
    if text.lower() not in words:
        raise Refused(f"has {name} that is neither true nor false")
    return words[text.lower()]


def read_number(name: str, text: str) -> int:
    """Return a number that is not negative."""
    if not re.fullmatch("[0-9]{1,9}", text):
        raise Refused(f"has {name} that is no number")
    return int(text)
