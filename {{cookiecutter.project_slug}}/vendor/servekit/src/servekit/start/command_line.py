"""The command line of a service: start its workers, or talk to the service that runs already."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, NoReturn

from servekit.admin.client import AdminClient, AdminError
from servekit.admin.operate import NotReachedError, Operator
from servekit.configuration.environment import SettingsError, load_settings, remarks
from servekit.configuration.spelling import example_file, spelled
from servekit.configuration.variables import unknown_variables
from servekit.edge.sockets import UNIX
from servekit.import_string import find

if TYPE_CHECKING:
    from collections.abc import Callable

    from servekit.configuration.settings import Settings

MARGIN_SECONDS = 10.0
SECONDS_MIN, SECONDS_MAX = 5.0, 100.0
DOCTOR_FAILED = 3


def run_command(application: str, settings_class: str, arguments: list[str]) -> int:
    """Do what the arguments say and return the exit code; see `servekit.main`."""
    options = parse(arguments)
    kind: type[Settings] = find(settings_class)
    if options.command == "settings" and options.example:
        print(example_file(kind), end="")  # noqa: T201 - the answer
        return 0
    try:
        settings = load_settings(kind)
    except SettingsError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)  # noqa: T201 - for people, before there are logs
        return DOCTOR_FAILED if options.command == "doctor" else 1
    if options.command == "run":
        # The other commands answer in half the time without it.
        from servekit.start.launch import run

        return run(settings, arguments=(application, settings_class), reload=options.reload)
    others = {"settings": tell_settings, "doctor": doctor, "profile": profile, "top": top}
    return others.get(options.command, ask)(settings, options)


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line; without a command it is `run`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.set_defaults(command="run", reload=False)
    commands = parser.add_subparsers(dest="command", metavar="command")
    start = commands.add_parser("run", help="start the service (the default)")
    start.add_argument("--reload", action="store_true", help="reload when a source file changes")
    status = commands.add_parser("status", help="show the workers of the running service")
    status.add_argument("--json", action="store_true", help="as JSON")
    watching = commands.add_parser("top", help="watch the running service; Ctrl-C ends it")
    watching.add_argument("--once", action="store_true", help="print one moment and end")
    reload = commands.add_parser(
        "reload", help="load the code anew, worker by worker, losing no request"
    )
    stop = commands.add_parser("stop", help="drain and end")
    scale = commands.add_parser("scale", help="change the number of workers")
    scale.add_argument("count", type=int, help="workers to have")
    for waiting in (reload, stop, scale):
        waiting.add_argument(
            "--wait",
            action=argparse.BooleanOptionalAction,
            default=True,
            help="until it is done, with exit code 1 if that fails",
        )
    profiling = commands.add_parser(
        "profile", help="sample what keeps the running service busy, as a flame graph"
    )
    profiling.add_argument("--seconds", type=float, default=10, help="how long (10)")
    profiling.add_argument("--hertz", type=float, default=100, help="samples a second (100)")
    profiling.add_argument("--worker", type=worker_or_all, default=None, help="a slot, or all")
    profiling.add_argument("--format", choices=["html", "speedscope", "collapsed"], default="html")
    profiling.add_argument(
        "--output", default="", help="the file; named after the time if not given"
    )
    add_doctor(commands.add_parser("doctor", help="find out what ails the running service"))
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
    options = parser.parse_args(arguments)
    options.command = options.command or "run"
    return options


def add_doctor(parser: argparse.ArgumentParser) -> None:
    """Give the doctor its options; what it cannot read ends with the code of a tool that failed."""

    def fail(message: str) -> NoReturn:
        parser.print_usage(sys.stderr)
        parser.exit(DOCTOR_FAILED, f"{parser.prog}: error: {message}\n")

    parser.error = fail  # type: ignore[method-assign] # argparse's own code means "cannot judge"
    parser.description = (
        "Exit code: 0 healthy, 1 a cause found, 2 cannot judge, 3 it failed itself."
    )
    parser.add_argument("--seconds", type=doctor_seconds, default=15, help="how long (15)")
    parser.add_argument("--url", type=load_url, default=None, help="send GET requests to this path")
    parser.add_argument("--rate", type=positive, default=20, help="so many a second (20)")
    parser.add_argument("--output", default="", help="write the report as one HTML page")
    parser.add_argument("--json", default="", help="write all that was seen, while it is seen")


def doctor_seconds(text: str) -> float:
    """Return for how long the doctor may sample."""
    seconds = float(text)
    if not SECONDS_MIN <= seconds <= SECONDS_MAX:
        raise argparse.ArgumentTypeError(f"{SECONDS_MIN:g} to {SECONDS_MAX:g}, not {text}")
    return seconds


def positive(text: str) -> float:
    """Return a number above 0."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"above 0, not {text}")
    return number


def load_url(text: str) -> str:
    """Return a path of this service, or a URL."""
    if not text.startswith(("/", "http://")) or not text.isprintable() or " " in text:
        raise argparse.ArgumentTypeError(f"a path or an http:// URL, not {text!r}")
    return text


def worker_or_all(text: str) -> int | None:
    """Return the slot of a worker, or None for all of them."""
    return None if text == "all" else int(text)


def top(settings: Settings, options: argparse.Namespace) -> int:
    """Watch the running service."""
    from servekit.console.top import show

    return answered(settings, lambda client: show(client, once=options.once))


def profile(settings: Settings, options: argparse.Namespace) -> int:
    """Profile the running service."""
    from servekit.diagnosis.profile import Sampling, take_profile, write_profile

    def take(client: AdminClient) -> str:
        sampling = Sampling(options.seconds, options.hertz, options.worker)
        taken = take_profile(client, sampling)
        return write_profile(taken, options.format, options.output)

    return answered(settings, take)


def doctor(settings: Settings, options: argparse.Namespace) -> int:
    """Examine the running service; the exit code is the doctor's."""
    from servekit.diagnosis.doctor import Examination, examine  # loads the parser of metrics

    url = options.url or ""
    if url.startswith("/"):
        host = settings.host.partition(",")[0].strip()
        if host.startswith(UNIX):
            print("--url needs a whole URL where the service is on a unix socket", file=sys.stderr)  # noqa: T201 - the answer
            return DOCTOR_FAILED
        url = f"{AdminClient(host, settings.port).address}{url}"
    wanted = Examination(options.seconds, url, options.rate, options.output, options.json)
    code = DOCTOR_FAILED

    def take(client: AdminClient) -> str:
        nonlocal code
        code, text = examine(client, wanted)
        return text

    answered(settings, take)
    return code


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

    return answered(settings, operate)


def answered(settings: Settings, ask: Callable[[AdminClient], str]) -> int:
    """Print what the admin port answers to a question; 1 if it cannot be asked, or refuses."""
    if not settings.admin_port:
        print("ADMIN_PORT is 0: the service has no admin port to ask", file=sys.stderr)  # noqa: T201 - the answer
        return 1
    token = settings.admin_token.get_secret_value()
    try:
        answer = ask(AdminClient(settings.admin_host, settings.admin_port, token=token))
    except (AdminError, NotReachedError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - the answer
        return 1
    if answer:
        print(answer)  # noqa: T201 - the answer
    return 0


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
