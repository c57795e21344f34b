"""The commands that look into the running service."""

from __future__ import annotations

import argparse
import re
import sys
from typing import TYPE_CHECKING

from servekit.start.asking import add_port, answered, told

if TYPE_CHECKING:
    from pathlib import Path

    from servekit.admin.client import AdminClient
    from servekit.configuration.settings import Settings


GROWTH_SECONDS = 30
GET_SECONDS = 150.0
"""What takes longest is a profile of two minutes."""


def add_profile(parser: argparse.ArgumentParser) -> None:
    """Give the profile its options."""
    add_port(parser)
    parser.add_argument("--seconds", type=positive, default=10, help="how long (10)")
    parser.add_argument(
        "--hertz", type=positive, default=100, help="samples a second, at most (100)"
    )
    parser.add_argument("--worker", type=worker_or_all, default=None, help="a slot, or all")
    parser.add_argument(
        "--mode",
        choices=["wall", "cpu", "waits"],
        default=None,
        help="what the loop's thread does (wall, if not given), does while it computes (cpu), or "
        "where requests wait (waits)",
    )
    parser.add_argument("--from", dest="file", default="", help="draw a profile that was kept")
    parser.add_argument("--format", choices=["html", "speedscope", "collapsed"], default="html")
    parser.add_argument("--output", default="", help="the file; named after the time if not given")


def add_get(parser: argparse.ArgumentParser) -> None:
    """Let `get` be told what to print."""
    add_port(parser)
    parser.add_argument(
        "path", type=admin_path, help='such as /metrics, or "/debug/threads?worker=0"'
    )


def add_top(parser: argparse.ArgumentParser) -> None:
    """Give `top` its options."""
    add_port(parser)
    parser.add_argument("--once", action="store_true", help="print one moment and end")


def add_heap(parser: argparse.ArgumentParser) -> None:
    """Give the heap its options."""
    add_port(parser)
    parser.add_argument("--worker", type=int, default=None, help="a slot; the largest if not given")
    parser.add_argument("--top", type=int, default=15, help="lines of each list (15)")
    parser.add_argument("--out", default="", help="keep the snapshot, for --diff")
    growth = parser.add_mutually_exclusive_group()
    growth.add_argument(
        "--growth",
        type=positive,
        nargs="?",
        const=GROWTH_SECONDS,
        default=None,
        metavar="SECONDS",
        help=f"count twice ({GROWTH_SECONDS} s), and compare; while requests come",
    )
    growth.add_argument(
        "--diff", nargs=2, default=None, metavar=("A", "B"), help="compare two files of --out"
    )


def admin_path(text: str) -> str:
    """Return a path, and what is asked of it."""
    if not re.fullmatch(r"/[!-~]*", text):
        raise argparse.ArgumentTypeError(f"a path begins with / and has no blanks, not {text!r}")
    return text


def positive(text: str) -> float:
    """Return a number above 0."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"above 0, not {text}")
    return number


def worker_or_all(text: str) -> int | None:
    """Return the slot of a worker, or None for all of them."""
    return None if text == "all" else int(text)


def get(settings: Settings, options: argparse.Namespace) -> int:
    """Print what the admin port has at a path, as it comes."""

    def show(client: AdminClient) -> str:
        for piece in client.read(options.path, seconds=GET_SECONDS):
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        return ""

    return answered(settings, options.on_port, show)


def top(settings: Settings, options: argparse.Namespace) -> int:
    """Watch the running service."""
    from servekit.console.top import show

    return answered(settings, options.on_port, lambda client: show(client, once=options.once))


def profile(settings: Settings, options: argparse.Namespace) -> int:
    """Profile the running service."""
    from servekit.diagnosis.profile import (
        Sampling,
        destination,
        read_profile,
        take_profile,
        write_profile,
    )

    def path() -> Path:
        return destination(options.format, options.output)

    if options.file:  # of which nobody has to be asked
        if options.mode:
            raise SystemExit("profile: --mode is for a service that runs, not for --from FILE")
        kept = options.file
        return told(lambda: write_profile(read_profile(kept), options.format, path()))

    def take(client: AdminClient) -> str:
        sampling = Sampling(options.seconds, options.hertz, options.worker, options.mode or "wall")
        file = path()
        return write_profile(take_profile(client, sampling), options.format, file)

    return answered(settings, options.on_port, take)


def heap(settings: Settings, options: argparse.Namespace) -> int:
    """Show what a worker holds, or what grew."""
    from servekit.diagnosis.heap import answer, compared

    if options.diff:
        before, after = options.diff
        return told(lambda: compared(before, after, options.top))
    return answered(settings, options.on_port, lambda client: answer(client, options))
