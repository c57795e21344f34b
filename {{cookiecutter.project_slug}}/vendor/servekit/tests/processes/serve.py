"""Run a supervisor with the configuration given as JSON, and print the ports it got."""

import asyncio
import contextlib
import json
import sys

import structlog

from servekit.admin.admin import create_admin
from servekit.admin.admin_server import serve_admin
from servekit.edge.sockets import listen
from servekit.logs import configure_logs
from servekit.supervisor.program import SupervisorConfig, WorkerLimits
from servekit.supervisor.supervisor import Supervisor
from servekit.supervisor.view import SupervisorView


def main() -> int:
    options = json.loads(sys.argv[1])
    token = options.pop("token", "")
    config = SupervisorConfig(**options | {"limits": WorkerLimits(**options.pop("limits", {}))})
    configure_logs("info", "json")
    public, admin = listen("127.0.0.1", 0), listen("127.0.0.1", 0)

    @contextlib.asynccontextmanager
    async def extra_services(supervisor):
        async with serve_admin(create_admin(SupervisorView(supervisor), token=token), admin):
            yield

    def started() -> None:
        ports = {"port": public.getsockname()[1], "admin_port": admin.getsockname()[1]}
        structlog.get_logger().info("listening", **ports)

    return asyncio.run(
        Supervisor(config, [public], extra_services=extra_services, on_start=started).run()
    )


if __name__ == "__main__":
    sys.exit(main())
