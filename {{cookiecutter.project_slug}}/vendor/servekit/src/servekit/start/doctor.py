"""The command `doctor`: its options, the service that it examines, and how it ended."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit

from servekit.admin.client import AdminClient, AdminError, NobodyAnswersError
from servekit.edge.sockets import UNIX
from servekit.start.asking import add_port
from servekit.start.diagnosing import positive

if TYPE_CHECKING:
    from servekit.configuration.settings import Settings
    from servekit.diagnosis.doctor import Examination
    from servekit.diagnosis.requests_file import Request

SECONDS_MIN, SECONDS_MAX = 5.0, 100.0
RANGE = f"{SECONDS_MIN:g} to {SECONDS_MAX:g}"
CANNOT_JUDGE = 2
FAILED = 3
"""The exit code of a doctor that could not work, or was not told what to do."""


def add_doctor(parser: argparse.ArgumentParser) -> None:
    """Give the doctor its options; what it cannot read ends with the code of a tool that failed."""

    def fail(message: str) -> NoReturn:
        parser.print_usage(sys.stderr)
        parser.exit(FAILED, f"{parser.prog}: error: {message}\n")

    parser.error = fail  # type: ignore[method-assign] # argparse's own code means "cannot judge"
    parser.description = (
        "Exit code: 0 healthy, 1 a cause found, 2 cannot judge or no service there, 3 arguments "
        "that it cannot use, or it failed itself."
    )
    whom = parser.add_mutually_exclusive_group()
    whom.add_argument(
        "--start", action="store_true", help="start the service first, on ports of its own"
    )
    add_port(whom)
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--url",
        type=load_url,
        default=None,
        help="send GET requests: a path of HOST and PORT, / with --start; or an http:// URL",
    )
    what.add_argument(
        "--file", default="", help="send its requests in turn: lines `METHOD /path`, or a HAR"
    )
    parser.add_argument(
        "--rate",
        type=positive,
        default=20,
        help="requests of --url, --file or --start a second (20)",
    )
    parser.add_argument(
        "--seconds",
        type=sampled_seconds,
        default=15,
        help=f"how long, {RANGE} (15); growth of memory needs a minute",
    )
    parser.add_argument("--output", default="", help="write the report as one HTML page")
    parser.add_argument("--json", default="", help="write all that was seen, while it is seen")
    parser.add_argument("--compare", default="", help="say what changed since a report of --json")


def sampled_seconds(text: str) -> float:
    """Return for how long the doctor may sample."""
    seconds = float(text)
    if not SECONDS_MIN <= seconds <= SECONDS_MAX:
        raise argparse.ArgumentTypeError(f"{RANGE}, not {text}")
    return seconds


def load_url(text: str) -> str:
    """Return a path of this service, or a URL."""
    if not text.startswith(("/", "http://")) or not text.isprintable() or " " in text:
        raise argparse.ArgumentTypeError(f"a path or an http:// URL, not {text!r}")
    return text


def doctor(settings: Settings, options: argparse.Namespace, arguments: tuple[str, str]) -> int:
    """Examine a service and return the exit code; `arguments` are those of `servekit.main`."""
    try:
        return examined(settings, options, arguments)
    except NobodyAnswersError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the answer
        return CANNOT_JUDGE
    except (AdminError, ValueError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - the answer
        return FAILED


def examined(settings: Settings, options: argparse.Namespace, arguments: tuple[str, str]) -> int:
    """Do it.

    Raises:
        AdminError: The service does not answer, or does not start.
        ValueError: A file that is to be read is none of its kind.
    """
    from servekit.diagnosis.doctor import examine  # loads the parser of metrics
    from servekit.diagnosis.own_service import own_service

    token = settings.admin_token.get_secret_value()
    wanted = wanted_of(options)
    with ExitStack() as stack:
        if options.start:
            seconds = settings.worker_start_seconds
            own = stack.enter_context(own_service(arguments, token=token, seconds=seconds))
            client, base = own.client, own.base
            wanted = replace(wanted, load_cpus=own.load_cpus)
        else:
            client = running(settings, options, token)
            base = public_address(settings)
        if wanted.requests and not wanted.base:
            if base.startswith(UNIX):
                raise ValueError("a service on a unix socket gets no requests of the doctor's")
            wanted = replace(wanted, base=base, host=host_of(settings, base))
        code, text = examine(client, wanted)
    print(text)  # noqa: T201 - the answer
    return code


def running(settings: Settings, options: argparse.Namespace, token: str) -> AdminClient:
    """Return the admin port of the service that runs already."""
    port = options.on_port if options.on_port is not None else settings.admin_port
    if not port:
        raise AdminError("ADMIN_PORT is 0: the service has no admin port to ask; or add --start")
    client = AdminClient(settings.admin_host, port, token=token)
    try:
        client.workers()
    except NobodyAnswersError as error:
        raise NobodyAnswersError(f"{error}; with --start the doctor starts one") from None
    return client


def public_address(settings: Settings) -> str:
    """Return where the service answers its users."""
    return AdminClient(settings.host.partition(",")[0].strip(), settings.port).address


def host_of(settings: Settings, base: str) -> str:
    """Return what requests to the service have to call it; nothing where its address will do."""
    hosts = [host.replace("*.", "www.") for host in settings.allowed_hosts]
    reached = urlsplit(base).netloc.rpartition(":")[0]
    return "" if not hosts or {"*", reached} & {*hosts} else hosts[0]


def wanted_of(options: argparse.Namespace) -> Examination:
    """Return what the options ask for.

    Raises:
        ValueError: The file of requests or the report is none.
    """
    from servekit.diagnosis.comparison import read_report
    from servekit.diagnosis.doctor import Examination
    from servekit.diagnosis.requests_file import read_requests

    base, requests = "", list["Request"]()
    if options.file:
        requests = read_requests(options.file)
    elif url := options.url or "/" * options.start:
        base, requests = one_request(url)
    return Examination(
        seconds=options.seconds,
        base=base,
        requests=tuple(requests),
        rate=options.rate,
        output=options.output,
        json=options.json,
        before=read_report(options.compare) if options.compare else None,
    )


def one_request(url: str) -> tuple[str, list[Request]]:
    """Return where a URL's requests go, nothing for a path, and the request."""
    from servekit.diagnosis.requests_file import Request

    parts = urlsplit(url)
    target = (parts.path or "/") + f"?{parts.query}" * bool(parts.query)
    base = f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""
    return base, [Request("GET", target)]
