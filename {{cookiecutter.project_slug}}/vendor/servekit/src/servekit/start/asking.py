"""Ask the running service by its admin port, and print what it answers."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from servekit.admin.client import AdminClient, AdminError
from servekit.admin.operate import NotReachedError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from servekit.configuration.settings import Settings


def add_port(parser: argparse.ArgumentParser) -> None:
    """Let a command be told which service it asks."""
    parser.add_argument(
        "--on-port",
        type=int,
        default=None,
        help="the admin port of the service; ADMIN_PORT if not given",
    )


def answered(settings: Settings, on_port: int | None, ask: Callable[[AdminClient], str]) -> int:
    """Print what the admin port answers to a question; 1 if it cannot be asked, or refuses."""
    port = settings.admin_port if on_port is None else on_port
    if not port:
        print("ADMIN_PORT is 0: the service has no admin port to ask", file=sys.stderr)  # noqa: T201 - the answer
        return 1
    token = settings.admin_token.get_secret_value()
    try:
        answer = ask(AdminClient(settings.admin_host, port, token=token))
    except (AdminError, NotReachedError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - the answer
        return 1
    if answer:
        print(answer)  # noqa: T201 - the answer
    return 0
