"""Host names, origins and path prefixes, as people write them and as requests name them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv6Address

from servekit.notation.urls import Refused, decoded, read_host, read_port, without_login
from servekit.notation.words import unquoted

SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.IGNORECASE)
DEFAULT_PORTS = {"http": 80, "https": 443}
ROOT_PATH = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)*")
SOCKET_PATH_MAX = 107  # bytes: the kernel's limit
PREFIX = re.compile(r"/[^\s?#{}*<>\"\\^`|\x00-\x1f\x7f]*")


def read_all(words: Iterable[str], read: Callable[[str], Iterator[str]]) -> list[str]:
    """Read words that hold no blanks; each once, in order."""
    found: dict[str, None] = {}
    for word in words:
        for each in word.split():
            found.update(dict.fromkeys(read(unquoted(each))))
    return list(found)


def allowed_host(text: str) -> Iterator[str]:
    """Yield a host as the Host field names it; `.example.com` is the domain and what is below.

    Raises:
        Refused: No request can have it.
    """
    if text.strip(".") == "*":
        yield "*"
        return
    match = SCHEME.fullmatch(text)
    place = (match[2] if match else text).removesuffix("/")
    wild = place.startswith(("*.", "."))
    try:
        host = without_port(place.removeprefix("*").removeprefix(".") if wild else place)
    except Refused:
        example = "shop.example.com, *.example.com or [::1]"
        raise Refused(f"{without_login(text)!r} is no host name: write it as {example}") from None
    if place.startswith("."):
        yield host
    yield f"*.{host}" if wild else host


def without_port(place: str) -> str:
    """Return the host of `host` or `host:port`, an IPv6 address in brackets."""
    if is_ipv6(place):
        return f"[{IPv6Address(place).compressed}]"
    host, bracket, port = place.rpartition("]") if place.startswith("[") else (place, "", "")
    if bracket:
        if not is_ipv6(host[1:]):
            raise Refused("is no address")
        if port and port != ":":
            read_port(port.removeprefix(":"))
        return f"[{IPv6Address(host[1:]).compressed}]"
    host, _, port = place.partition(":")
    if port:
        read_port(port)
    return read_host(host).rstrip(".")


def is_ipv6(text: str) -> bool:
    """Return whether a text is an address that needs brackets."""
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def origin(text: str) -> Iterator[str]:
    """Yield an origin as browsers write it: small letters, without default port and slash.

    Raises:
        Refused: No browser sends it.
    """
    if text in {"*", "null"}:
        yield text
        return
    match = SCHEME.fullmatch(text)
    if match is None:
        bare = without_login(text)
        place = bare.removeprefix("//")
        scheme = "http" if place.partition(":")[0] in {"localhost", "127.0.0.1"} else "https"
        raise Refused(f"{bare!r} has no scheme: write {scheme}://{place}")
    scheme, place = match[1].lower(), match[2].rstrip("/")
    if "*" in place:
        raise Refused(
            f"{without_login(text)!r} has a wildcard: name each origin, as in https://app.example.com"
        )
    try:
        host = without_port(place)
    except Refused:
        example = "https://app.example.com: a scheme, a host and perhaps a port"
        raise Refused(f"{without_login(text)!r} is no origin: write it as {example}") from None
    _, colon, port = place.rpartition("]")[2].rpartition(":")
    number = int(port) if colon and port else None
    other = number is not None and number != DEFAULT_PORTS.get(scheme)
    yield f"{scheme}://{host}:{number}" if other else f"{scheme}://{host}"


def path_prefix(text: str) -> Iterator[str]:
    """Yield the beginning of a path, decoded; the slash may be left out, and `*` may end it.

    Raises:
        Refused: No path begins so.
    """
    prefix = text.removesuffix("*") if text != "*" else "/"
    prefix = prefix if prefix.startswith("/") else f"/{prefix}"
    if SCHEME.fullmatch(text) or not PREFIX.fullmatch(prefix) or prefix.startswith("//"):
        example = "/orders; a prefix is plain text, without host, `?`, `{` and `*`"
        raise Refused(f"{without_login(text)!r} is no beginning of a path: write it as {example}")
    yield decoded(prefix)  # as requests are compared


def root_path(text: str) -> str:
    """Return the prefix of all paths, with a slash before it and none behind; `/` is none.

    Raises:
        Refused: It is no plain path, such as a URL.
    """
    bare = text.strip().strip("/")
    prefix = f"/{bare}" if bare else ""
    # It stands in redirects and in the script of /docs: nothing there that means something else.
    if text.lstrip().startswith("//") or not ROOT_PATH.fullmatch(prefix):
        example = "/shop; letters, digits, `.`, `_`, `~` and `-` between slashes"
        raise Refused(f"is no beginning of a path: write it as {example}")
    return prefix


def checked_socket_path(path: str) -> str:
    """Return the path of a unix socket.

    Raises:
        Refused: No socket can have it.
    """
    if len(path.encode()) > SOCKET_PATH_MAX:
        raise Refused(f"has a path longer than the {SOCKET_PATH_MAX} bytes that a socket may have")
    return path


def listen_host(text: str) -> str:
    """Return the address to listen on; brackets around an IPv6 address may stand or not.

    Raises:
        Refused: It cannot be listened on.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        path = path.removeprefix("//")
        if not path:
            raise Refused("names no path: write it as unix:/run/service.sock")
        return f"unix:{checked_socket_path(path)}"
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if is_ipv6(bare):
        return bare
    try:
        read_host(bare)
    except Refused:
        example = "0.0.0.0, :: or unix:/run/service.sock; a port has a setting of its own"
        raise Refused(
            f"{without_login(text)!r} is no address to listen on: write it as {example}"
        ) from None
    return bare
