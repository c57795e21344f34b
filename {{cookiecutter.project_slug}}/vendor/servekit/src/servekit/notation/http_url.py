"""The address of an HTTP service, which is called below it."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from servekit.notation.urls import Refused, split_url, without_login
from servekit.notation.words import unquoted

EXAMPLE = "http://rates:8080 or https://example.com/v1"


def read_base_url(given: str) -> str:
    """Return the base URL of an HTTP service; empty where there is none.

    Raises:
        Refused: No request can be sent there.
    """
    url = unquoted(given.strip())
    if not url:
        return ""
    shown = re.split("[?#]", without_login(url), maxsplit=1)[0]
    if not url.lower().startswith(("http://", "https://")):
        raise Refused(f"{shown!r} does not begin with http:// or https://: write it as {EXAMPLE}")
    if "$" in url:
        raise Refused(
            f"{shown!r} holds `$`, which no value was put for; a `$` that is meant is %24"
        )
    try:
        address = split_url(url)
    except Refused as refusal:
        raise Refused(f"{shown!r} {refusal}") from None
    if "?" in url:
        raise Refused(
            f"{shown!r} has a query behind it, where paths are put: "
            "give it with each call (`params=`)"
        )
    if len(address.hosts) != 1:
        raise Refused(f"{shown!r} is no address: write it as {EXAMPLE}")
    return url


BaseUrl = Annotated[str, AfterValidator(read_base_url)]
"""The base URL of an HTTP service, refused at the start when it cannot be called; or empty."""
