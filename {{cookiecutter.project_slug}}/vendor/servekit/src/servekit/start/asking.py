"""Ask the running service by its admin port, and print what it answers."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from servekit.admin.client import AdminClient, AdminError
from servekit.admin.operate import NotReachedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from servekit.configuration.settings import Settings

    Arguments = argparse.ArgumentParser | argparse._MutuallyExclusiveGroup  # noqa: SLF001 - no other name

PORT_MAX = 65535


def add_port(arguments: Arguments) -> None:
    """Let a command be told which service it asks."""
    arguments.add_argument(
        "--on-port",
        type=port,
        default=None,
        help="the admin port of the service; ADMIN_PORT if not given",
    )


def port(text: str) -> int:
    """Return the number of a port."""
    if not text.isdecimal() or not 1 <= int(text) <= PORT_MAX:
        raise argparse.ArgumentTypeError(f"1 to {PORT_MAX}, not {text}")
    return int(text)


def answered(settings: Settings, on_port: int | None, ask: Callable[[AdminClient], str]) -> int:
    """Print what the admin port answers to a question; 1 if it cannot be asked, or refuses."""
    number = settings.admin_port if on_port is None else on_port
    if not number:
        print("ADMIN_PORT is 0: the service has no admin port to ask", file=sys.stderr)  # noqa: T201 - the answer
        return 1
    token = settings.admin_token.get_secret_value()
    return told(lambda: ask(AdminClient(settings.admin_host, number, token=token)))


def told(find: Callable[[], str]) -> int:
    """Print an answer; 1 if there is none, with the reason."""
    try:
        answer = find()
    except (AdminError, NotReachedError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - the answer
        return 1
    if answer:
        print(answer)  # noqa: T201 - the answer
    return 0
