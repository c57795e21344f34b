"""Start the service: ports, Redis, supervisor and admin port, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from servekit.admin.admin import create_admin
from servekit.admin.admin_server import serve_admin
from servekit.background import running
from servekit.configuration.env_files import read_env_files
from servekit.configuration.environment import load_settings
from servekit.configuration.safety import remarks
from servekit.configuration.variables import names_of, unknown_variables
from servekit.cpus import usable_cpus
from servekit.edge.sockets import UNIX, listen, url
from servekit.event_log import get_logger
from servekit.interpreter import has_debugger
from servekit.logs import configure_logs
from servekit.notation.words import split_words
from servekit.redis.embedded import EmbeddedServer, EmbeddedServerError
from servekit.start.code_watch import code_folders, watch_code
from servekit.start.console import make_console, open_journal
from servekit.start.systemd import Notifier, passed_sockets
from servekit.supervisor.program import SupervisorConfig, WorkerLimits
from servekit.supervisor.supervisor import Supervisor
from servekit.supervisor.view import SupervisorView

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

    from servekit.configuration.settings import Settings

PROGRAM = "servekit.start.program:load"
"""What workers run: a function of no arguments."""

START_SECONDS_AT_TERMINAL = 3600.0
IDLE_SECONDS = 1.0
"""Time that idle connections of a replaced worker stay."""

RELOAD_DRAIN_SECONDS = 2.0
"""Time for the answers of code that a save replaces: an open page's event stream has no end."""

MALLOC_ARENAS = "2"
"""For the processes started from here: of many arenas, one a thread, glibc gives little back."""

log = get_logger()


def run(
    settings: Settings,
    *,
    program: str = PROGRAM,
    arguments: tuple[str, ...] = (),
    reload: bool = False,
) -> int:
    """Start everything, serve until told to stop, and return the exit code.

    `program` names the function that workers run with `arguments`.
    """
    configure_logs(settings.log_level, settings.log_format)
    os.environ.setdefault("MALLOC_ARENA_MAX", MALLOC_ARENAS)
    doubts = Doubts((settings.log_level, settings.log_format))
    doubts.say(settings)
    with contextlib.ExitStack() as stack:
        try:
            passed = passed_sockets()
            public = passed or bind_public(settings)
            admin = bind_admin(settings)
            server = start_redis(settings, stack)
        except (AddressError, EmbeddedServerError) as error:
            print(error, file=sys.stderr)  # noqa: T201 - one line for people is the whole story
            return 1
        config = supervisor_config(settings, program, arguments, reload=reload)
        config = replace(
            config,
            keep_listeners=bool(passed),
            renewed=lambda: renewed(settings, config, doubts, reload=reload),
        )
        notifier, journal = Notifier(), open_journal()

        @contextlib.asynccontextmanager
        async def extra_services(supervisor: Supervisor) -> AsyncIterator[None]:
            async with contextlib.AsyncExitStack() as beside:
                if admin is not None:
                    view = SupervisorView(supervisor)
                    console, feed = make_console(view, journal, settings)
                    token = settings.admin_token.get_secret_value()
                    app = create_admin(
                        view, token=token, routes=console.routes, shell=console.shell
                    )
                    await beside.enter_async_context(serve_admin(app, admin))
                    await beside.enter_async_context(feed)
                await beside.enter_async_context(running(notifier.keep_alive))
                if server is not None:
                    await beside.enter_async_context(running(server.watch))
                if reload:
                    folders = code_folders(arguments)
                    await beside.enter_async_context(watch_code(folders, supervisor.reload))
                yield

        def started() -> None:
            announce(settings, config, public, admin)
            notifier.started()

        supervisor = Supervisor(
            config,
            public,
            extra_services=extra_services,
            on_start=started,
            on_event=notifier.happened,
            on_note=journal.add,
        )
        return asyncio.run(supervisor.run())


class AddressError(Exception):
    """An address cannot be bound; the text names the settings to change."""


class Doubts:
    """What of the settings may not be meant, said once: at the start or a reload."""

    def __init__(self, log_form: tuple[str, str]) -> None:
        self._said: set[str] = set()
        self.log_form = log_form
        """Level and form of the log, as they were read last."""

    def say(self, settings: Settings) -> None:
        """Log a line for each, but for those that were said."""
        lines = [("unknown_setting", line) for line in unknown_variables(type(settings))]
        lines += [("doubtful_setting", line) for line in remarks(settings)]
        for event, line in lines:
            if line not in self._said:
                log.warning(event, detail=line)
        self._said = {line for _, line in lines}


def renewed(
    settings: Settings, config: SupervisorConfig, doubts: Doubts, *, reload: bool = False
) -> SupervisorConfig:
    """Return the configuration for code that is loaded now, from `.env` as it is now.

    Raises:
        SettingsError: A setting is refused.
    """
    new = load_settings(type(settings))
    doubts.say(new)
    form = new.log_level, new.log_format
    if form != doubts.log_form:
        configure_logs(*form)
        doubts.log_form = form
    fixed = ("host", "port", "admin_host", "admin_port", "admin_token", "worker_start_method")
    changed = [name.upper() for name in fixed if getattr(new, name) != getattr(settings, name)]
    redis = names_of(type(settings), "redis_url")[0]
    if not settings.redis_url.get_secret_value() and read_env_files(type(settings)).get(redis):
        changed.append(redis)  # an embedded server stands in its place
    if changed:
        log.warning("restart_needed", settings=changed)
    limits = supervisor_config(new, config.program, config.arguments, reload=reload)
    return replace(
        config,
        workers=limits.workers if new.workers != settings.workers else config.workers,
        start_seconds=limits.start_seconds,
        hang_seconds=limits.hang_seconds,
        recycle_requests=limits.recycle_requests,
        recycle_rss_bytes=limits.recycle_rss_bytes,
        rss_limits=limits.rss_limits,
        limits=limits.limits,
    )


def bind_public(settings: Settings) -> list[socket.socket]:
    """Bind the public port on every address of HOST, before anything else is started."""
    hosts = split_words(settings.host)
    both = "0.0.0.0" not in hosts
    return [bind_one(host, settings.port, "HOST and PORT", mode=0o666, both=both) for host in hosts]


def bind_admin(settings: Settings) -> socket.socket | None:
    """Bind the admin port, if there is one."""
    if not settings.admin_port:
        return None
    names = "ADMIN_HOST and ADMIN_PORT"
    return bind_one(settings.admin_host, settings.admin_port, names, mode=0o600)


def bind_one(host: str, port: int, names: str, *, mode: int, both: bool = True) -> socket.socket:
    """Bind one address, or say in one line why not."""
    try:
        return listen(host, port, mode=mode, both=both)
    except (OSError, ValueError) as error:  # a name that is none is a UnicodeError
        address = host if host.startswith(UNIX) else f"{host}:{port}"
        reason = getattr(error, "strerror", None) or error
        raise AddressError(f"{names}: cannot listen on {address}: {reason}") from None


def start_redis(settings: Settings, stack: contextlib.ExitStack) -> EmbeddedServer | None:
    """Start a Redis server where none is set; its address goes to the children's environment."""
    if settings.production or settings.redis_url.get_secret_value():
        return None
    server = stack.enter_context(EmbeddedServer())
    os.environ[names_of(type(settings), "redis_url")[0]] = server.url
    return server


def start_method(settings: Settings) -> Literal["fork", "spawn"]:
    """Return how workers start: forked, unless that is unsafe here or unwanted."""
    if settings.worker_start_method == "auto":
        return "spawn" if sys.platform == "darwin" else "fork"
    return settings.worker_start_method


def supervisor_config(
    settings: Settings, program: str, arguments: tuple[str, ...], *, reload: bool = False
) -> SupervisorConfig:
    """Return what the supervisor has to know, as plain values.

    With `reload` there is one worker unless a number is set, and it is replaced at once: whoever
    saves a file waits for it, and its last answers have little time. What cannot be loaded waits
    for the next save. At a terminal a silent worker is not replaced: it may stand at a breakpoint.
    """
    drain_seconds = settings.timeout_drain_seconds
    at_terminal = not settings.production and sys.stdin is not None and sys.stdin.isatty()
    patient = at_terminal and "worker_start_seconds" not in settings.model_fields_set
    return SupervisorConfig(
        program=program,
        arguments=arguments,
        workers=settings.workers or (1 if reload else usable_cpus()),
        start_method=start_method(settings),
        start_seconds=START_SECONDS_AT_TERMINAL if patient else settings.worker_start_seconds,
        hang_seconds=0 if at_terminal else settings.worker_hang_seconds,
        rss_limits={
            "WORKER_RECYCLE_RSS_MIB": settings.worker_recycle_rss_mib * 2**20,
            "PRESSURE_RSS_MIB": settings.pressure_rss_mib * 2**20,
        },
        idle_seconds=0 if reload else IDLE_SECONDS,
        retries_code=not reload,
        prepares_code=reload and not has_debugger(),  # which would follow that process too
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
            message_bytes=settings.limit_message_bytes,
            drain_delay_seconds=settings.drain_delay_seconds,
            drain_seconds=min(drain_seconds, RELOAD_DRAIN_SECONDS) if reload else drain_seconds,
        ),
    )


def announce(
    settings: Settings,
    config: SupervisorConfig,
    public: list[socket.socket],
    admin: socket.socket | None,
) -> None:
    """Say where the service answers and what is off: as a table on a terminal, else as an event."""
    embedded = not settings.redis_url.get_secret_value()
    off = [name for name, on in switches(settings).items() if not on]
    facts: dict[str, str | int] = {
        "url": " ".join(map(url, public)),
        "admin": url(admin) if admin else "off",
        "environment": settings.environment,
        "workers": config.workers,
        "redis": "embedded, empty at every start" if embedded else "REDIS_URL",
        "off": ", ".join(off),
    }
    if sys.stdout is None or not sys.stdout.isatty() or settings.log_format == "json":
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
