"""python -m service: start the workers, or talk to the service that runs already."""

from __future__ import annotations

import signal
import sys

if __name__ == "__main__":
    # Before the imports, which take a second: the kernel delivers to PID 1 only what it handles, so
    # `docker stop` would not be heard until then. The supervisor has its own handlers. HUP and USR1
    # would end us; there is nothing yet to reload or to show.
    signal.signal(signal.SIGHUP, lambda *_: None)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))

import argparse
import asyncio
import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from service.environment import SettingsError, load_settings, unknown_variables
from service.logs import configure_logs
from service.ops.admin import create_admin
from service.ops.admin_server import serve_admin
from service.ops.client import AdminClient, AdminError, table
from service.runtime.cpus import usable_cpus
from service.runtime.front_door.sockets import UNIX, listen, url
from service.runtime.workers.code_watch import watch_code
from service.runtime.workers.options import SupervisorConfig, WorkerLimits
from service.runtime.workers.supervisor import Supervisor
from service.runtime.workers.view import SupervisorView
from service.stores.redis.embedded import EmbeddedServer, EmbeddedServerError

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

    from service.settings import Settings

PROGRAM = "service.app:program"
"""What workers run: a function of no arguments."""

log = structlog.get_logger()


def main(arguments: list[str] | None = None, *, program: str = PROGRAM) -> int:
    """Do what the command line says and return the exit code."""
    options = parse(arguments)
    try:
        settings = load_settings()
    except SettingsError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)  # noqa: T201 - for people, before there are logs
        return 1
    if options.command == "run":
        return run(settings, program, reload=options.reload)
    if options.command == "settings":
        return show_settings(settings)
    return ask(settings, options)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line; without a command it is `run`."""
    parser = argparse.ArgumentParser(prog="python -m service", description=__doc__)
    parser.set_defaults(command="run", reload=False)
    commands = parser.add_subparsers(dest="command", metavar="command")
    start = commands.add_parser("run", help="start the service (the default)")
    start.add_argument("--reload", action="store_true", help="reload when a source file changes")
    status = commands.add_parser("status", help="show the workers of the running service")
    status.add_argument("--json", action="store_true", help="as JSON")
    commands.add_parser("reload", help="load the code anew, worker by worker, losing no request")
    commands.add_parser("stop", help="drain and end")
    scale = commands.add_parser("scale", help="change the number of workers")
    scale.add_argument("count", type=int, help="workers to have")
    commands.add_parser("settings", help="show every setting with its value; secrets are masked")
    options = parser.parse_args(arguments)
    options.command = options.command or "run"
    return options


# run


def run(settings: Settings, program: str, *, reload: bool = False) -> int:
    """Start everything, serve until told to stop, and return the exit code."""
    configure_logs(settings.log_level, settings.log_format)
    for line in unknown_variables():
        log.warning("unknown_setting", detail=line)
    with contextlib.ExitStack() as stack:
        try:
            public, admin = bind(settings)
            start_redis(settings, stack)
        except (AddressError, EmbeddedServerError) as error:
            print(error, file=sys.stderr)  # noqa: T201 - one line for people is the whole story
            return 1
        config = supervisor_config(settings, program)

        @contextlib.asynccontextmanager
        async def companion(supervisor: Supervisor) -> AsyncIterator[None]:
            async with contextlib.AsyncExitStack() as beside:
                if admin is not None:
                    token = settings.admin_token.get_secret_value()
                    app = create_admin(SupervisorView(supervisor), token=token)
                    await beside.enter_async_context(serve_admin(app, admin))
                if reload:
                    folder = Path(__file__).parent
                    await beside.enter_async_context(watch_code(folder, supervisor.reload))
                yield

        supervisor = Supervisor(
            config,
            [public],
            companion=companion,
            on_start=lambda: announce(settings, config, public, admin),
        )
        return asyncio.run(supervisor.run())


class AddressError(Exception):
    """An address cannot be bound; the text names the settings to change."""


def bind(settings: Settings) -> tuple[socket.socket, socket.socket | None]:
    """Bind the public and the admin port, before anything else is started."""
    public = bind_one(settings.host, settings.port, "HOST and PORT", mode=0o666)
    if not settings.admin_port:
        return public, None
    names = "ADMIN_HOST and ADMIN_PORT"
    return public, bind_one(settings.admin_host, settings.admin_port, names, mode=0o600)


def bind_one(host: str, port: int, names: str, *, mode: int) -> socket.socket:
    """Bind one address, or say in one line why not."""
    try:
        return listen(host, port, mode=mode)
    except OSError as error:
        address = host if host.startswith(UNIX) else f"{host}:{port}"
        reason = error.strerror or error
        raise AddressError(f"{names}: cannot listen on {address}: {reason}") from None


def start_redis(settings: Settings, stack: contextlib.ExitStack) -> None:
    """Start a Redis server where none is set; its address goes to the children's environment."""
    if not settings.production and not settings.redis_url.get_secret_value():
        os.environ["REDIS_URL"] = stack.enter_context(EmbeddedServer()).url


def supervisor_config(settings: Settings, program: str = PROGRAM) -> SupervisorConfig:
    """Return what the supervisor has to know, as plain values."""
    return SupervisorConfig(
        program=program,
        workers=settings.workers or usable_cpus(),
        start_method=settings.worker_start_method,
        start_seconds=settings.worker_start_seconds,
        hang_seconds=settings.worker_hang_seconds,
        recycle_requests=settings.worker_recycle_requests,
        recycle_rss_bytes=settings.worker_recycle_rss_mib * 2**20,
        limits=WorkerLimits(
            header_seconds=settings.timeout_header_seconds,
            body_seconds=settings.timeout_body_seconds,
            keep_alive_seconds=settings.timeout_keep_alive_seconds,
            header_bytes=settings.limit_header_bytes,
            header_count=settings.limit_header_count,
            uri_bytes=settings.limit_uri_bytes,
            connections=settings.limit_connections,
            drain_delay_seconds=settings.drain_delay_seconds,
            drain_seconds=settings.timeout_drain_seconds,
        ),
    )


def announce(
    settings: Settings,
    config: SupervisorConfig,
    public: socket.socket,
    admin: socket.socket | None,
) -> None:
    """Say where the service answers and what is off: as a table on a terminal, else as an event."""
    embedded = not settings.redis_url.get_secret_value()
    off = [name for name, on in switches(settings).items() if not on]
    facts: dict[str, str | int] = {
        "url": url(public),
        "admin": url(admin) if admin else "off",
        "environment": settings.environment,
        "workers": config.workers,
        "redis": "embedded, empty at every start" if embedded else "REDIS_URL",
        "off": ", ".join(off),
    }
    if not sys.stdout.isatty() or settings.log_format == "json":
        log.info("service_started", **facts)
        return
    lines = [f"  {name:<12} {value}" for name, value in facts.items()]
    print("\n".join(["", *lines, "", "  Ctrl-C stops it.", ""]), flush=True)  # noqa: T201 - for people


def switches(settings: Settings) -> dict[str, bool]:
    """Return the features that settings switch on, for the summary."""
    return {
        "rate limit": settings.rate_limit_per_minute > 0,
        "CORS": bool(settings.cors_origins),
        "tracing": bool(settings.otel_exporter_otlp_endpoint),
        "cache": settings.cache_enabled,
        "trusted proxies": settings.trusted_proxy_hops > 0,
        "recycling": bool(settings.worker_recycle_requests or settings.worker_recycle_rss_mib),
    }


# status, reload, stop, scale, settings


def ask(settings: Settings, options: argparse.Namespace) -> int:
    """Pass a command to the running service."""
    if not settings.admin_port:
        print("ADMIN_PORT is 0: the service has no admin port to ask", file=sys.stderr)  # noqa: T201 - the answer
        return 1
    token = settings.admin_token.get_secret_value()
    client = AdminClient(settings.admin_host, settings.admin_port, token=token)
    try:
        if options.command == "status":
            rows = client.workers()
            print(json.dumps(rows) if options.json else table(rows))  # noqa: T201 - the answer
        elif options.command == "scale":
            client.scale(options.count)
        elif options.command == "reload":
            client.reload()
        else:
            client.stop()
    except AdminError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the answer
        return 1
    return 0


def show_settings(settings: Settings) -> int:
    """Print every setting as the environment would spell it."""
    for name, value in settings:
        print(f"{name.upper()}={value}")  # noqa: T201 - the answer
    return 0


if __name__ == "__main__":
    sys.exit(main())
