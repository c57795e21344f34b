"""The command line of a service: start its workers, or talk to the service that runs already."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import TYPE_CHECKING

from servekit.admin.client import WORKERS_LIMIT
from servekit.admin.operate import Operator
from servekit.configuration.environment import SettingsError, load_admin_settings, load_settings
from servekit.configuration.safety import remarks
from servekit.configuration.spelling import example_file, spelled
from servekit.configuration.variables import unknown_variables
from servekit.errors import reason_of
from servekit.import_string import find
from servekit.own_code import claim
from servekit.start.asking import add_port, answered
from servekit.start.diagnosing import (
    add_get,
    add_heap,
    add_profile,
    add_top,
    get,
    heap,
    profile,
    top,
)
from servekit.start.doctor import FAILED as DOCTOR_FAILED, add_doctor, doctor

if TYPE_CHECKING:
    from servekit.admin.client import AdminClient
    from servekit.configuration.settings import Settings

MARGIN_SECONDS = 10.0
ASKING = frozenset({"status", "reload", "scale", "stop", "profile", "heap", "top", "get"})


def run_command(application: str, settings_class: str, arguments: list[str]) -> int:
    """Do what the arguments say and return the exit code; see `servekit.main`."""
    options = parse(arguments)
    claim(application)
    if options.command == "run":
        return answer(application, settings_class, options)
    try:
        code = answer(application, settings_class, options)
        sys.stdout.flush()
    except BrokenPipeError:
        # Who reads has enough, as `head` has; and Python flushes once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 128 + signal.SIGPIPE  # as a shell says of what SIGPIPE ended
    except Exception as error:
        if options.command != "doctor":
            raise
        # Its other codes are verdicts, and Python's own for an error is one of them.
        print(f"the doctor failed itself: {reason_of(error)}", file=sys.stderr)  # noqa: T201 - the answer
        return DOCTOR_FAILED
    return code


def answer(application: str, settings_class: str, options: argparse.Namespace) -> int:
    """Do what the options say and return the exit code."""
    kind: type[Settings] = find(settings_class)
    if options.command == "settings" and options.example:
        print(example_file(kind), end="")  # noqa: T201 - the answer
        return 0
    try:
        settings = load_settings(kind)
    except SettingsError as error:
        if not asks(options):
            return refused(error, options)
        # The others are not at hand, as beside a unit's.
        try:
            settings = load_admin_settings(kind)
        except SettingsError as of_admin_port:
            return refused(of_admin_port, options)
    if options.command == "run":
        # The other commands answer in half the time without it.
        from servekit.start.launch import run

        return run(settings, arguments=(application, settings_class), reload=options.reload)
    if options.command == "doctor":
        return doctor(settings, options, (application, settings_class))
    return COMMANDS.get(options.command, ask)(settings, options)


def asks(options: argparse.Namespace) -> bool:
    """Return whether a command needs no more than where the running service is asked."""
    return options.command in ASKING or (options.command == "doctor" and not options.start)


def refused(error: SettingsError, options: argparse.Namespace) -> int:
    """Say what is wrong with the settings."""
    for problem in error.problems:
        print(problem, file=sys.stderr)  # noqa: T201 - for people, before there are logs
    return DOCTOR_FAILED if options.command == "doctor" else 1


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line; without a command it is `run`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.set_defaults(command="run", reload=False)
    commands = parser.add_subparsers(dest="command", metavar="command")
    start = commands.add_parser("run", help="start the service (the default)")
    start.add_argument("--reload", action="store_true", help="reload when a source file changes")
    status = commands.add_parser("status", help="show the workers of the running service")
    status.add_argument("--json", action="store_true", help="as JSON")
    add_top(commands.add_parser("top", help="watch the running service; Ctrl-C ends it"))
    reload = commands.add_parser(
        "reload", help="load the code anew, worker by worker, losing no request"
    )
    stop = commands.add_parser("stop", help="drain and end")
    scale = commands.add_parser("scale", help="change the number of workers")
    scale.add_argument("count", type=worker_count, help="workers to have")
    for asking in (status, reload, stop, scale):
        add_port(asking)
    for waiting in (reload, stop, scale):
        waiting.add_argument(
            "--wait",
            action=argparse.BooleanOptionalAction,
            default=True,
            help="until it is done, with exit code 1 if that fails",
        )
    add_profile(
        commands.add_parser(
            "profile", help="sample what keeps the running service busy, as a flame graph"
        )
    )
    add_heap(commands.add_parser("heap", help="show what a worker of the running service holds"))
    add_get(commands.add_parser("get", help="print what the admin port has at a path"))
    add_doctor(commands.add_parser("doctor", help="find out what ails the service"))
    shown = commands.add_parser(
        "settings", help="show every setting as a line of .env, secrets masked"
    )
    shown.add_argument("--example", action="store_true", help="print the text of .env.example")
    shown.add_argument(
        "--check", action="store_true", help="only say what is wrong, one line each; 1 if anything"
    )
    shown.add_argument(
        "--connect", action="store_true", help="with --check: try Redis and the databases too"
    )
    options, unknown = parser.parse_known_args(arguments)
    options.command = options.command or "run"
    if unknown:  # which a command says itself, with its usage and its exit code
        whose = commands.choices[options.command] if options.command in arguments else parser
        whose.error(f"unrecognized arguments: {' '.join(unknown)}")
    return options


def worker_count(text: str) -> int:
    """Return a number of workers that a service may have."""
    if not text.isdecimal() or not 1 <= int(text) <= WORKERS_LIMIT:
        raise argparse.ArgumentTypeError(f"1 to {WORKERS_LIMIT}, not {text}")
    return int(text)


def ask(settings: Settings, options: argparse.Namespace) -> int:
    """Pass a command to the running service."""
    longest = settings.worker_start_seconds + settings.drain_delay_seconds
    longest += settings.timeout_drain_seconds + MARGIN_SECONDS

    def operate(client: AdminClient) -> str:
        operator = Operator(client, wait=getattr(options, "wait", False), seconds=longest)
        match options.command:
            case "status":
                return operator.status(as_json=options.json)
            case "scale":
                return operator.scale(options.count)
            case "reload":
                return operator.reload()
            case _:
                return operator.stop()

    return answered(settings, options.on_port, operate)


def tell_settings(settings: Settings, options: argparse.Namespace) -> int:
    """Print the settings, or what is wrong with them."""
    if options.check or options.connect:
        return check_settings(settings, connect=options.connect)
    return show_settings(settings)


def show_settings(settings: Settings) -> int:
    """Print every setting as `.env` would spell it."""
    for line in spelled(settings):
        print(line)  # noqa: T201 - the answer
    return 0


def check_settings(settings: Settings, *, connect: bool) -> int:
    """Say in a line each what is wrong, and what works and may not be meant; 1 if anything is."""
    for line in [*remarks(settings), *unknown_variables(type(settings))]:
        print(line, file=sys.stderr)  # noqa: T201 - the answer
    problems = []
    if connect:
        from servekit.start.connections import try_connections  # loads the clients

        problems = try_connections(settings)
    for problem in problems:
        print(problem, file=sys.stderr)  # noqa: T201 - the answer
    if not problems:
        print("settings: ok, and everything answers" if connect else "settings: ok")  # noqa: T201 - the answer
    return 1 if problems else 0


COMMANDS = {"settings": tell_settings, "profile": profile, "heap": heap, "top": top, "get": get}
"""What is not asked by `ask`."""
