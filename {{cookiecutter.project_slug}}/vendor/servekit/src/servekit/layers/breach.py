"""Which answers must not be compressed, as their length would tell what is in them (BREACH)."""

from __future__ import annotations

from starlette.types import Message, Scope

from servekit.layers.http_headers import header_value

OWN_PAGES = frozenset({b"same-origin", b"none"})
"""What Sec-Fetch-Site says where no other site chose the URL: a page of ours, or the user."""


def length_tells(scope: Scope, start: Message) -> bool:
    """Return whether an answer depends on cookies and another site may have made the request.

    Who can make a browser ask again and again, with guesses in the URL, and sees how long the
    answers are, learns what is compressed beside the guess. A session says `Vary: Cookie`, and so
    does a route that reads cookies of its own.
    """
    vary = header_value(start["headers"], b"vary").lower()
    if b"cookie" not in vary:
        return False
    return header_value(scope["headers"], b"sec-fetch-site") not in OWN_PAGES


def is_kept_by_cookies(scope: Scope) -> bool:
    """Return whether an answer is made for a cache further out that has cookies in its key.

    That says `Vary: Cookie` itself, and gives the same to whoever made the browser ask.
    """
    return "route" in scope and b"cookie" in getattr(scope["route"], "vary", ())
