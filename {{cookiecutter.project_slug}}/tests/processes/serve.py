"""Run a supervisor with the configuration given as JSON, and print the ports it got."""

import asyncio
import contextlib
import json
import sys

import structlog

from service.logs import configure_logs
from service.ops.admin import create_admin
from service.ops.admin_server import serve_admin
from service.runtime.front_door.sockets import listen
from service.runtime.workers.options import SupervisorConfig, WorkerLimits
from service.runtime.workers.supervisor import Supervisor
from service.runtime.workers.view import SupervisorView


def main() -> int:
    options = json.loads(sys.argv[1])
    token = options.pop("token", "")
    config = SupervisorConfig(**options | {"limits": WorkerLimits(**options.pop("limits", {}))})
    configure_logs("info", "json")
    public, admin = listen("127.0.0.1", 0), listen("127.0.0.1", 0)

    @contextlib.asynccontextmanager
    async def companion(supervisor):
        async with serve_admin(create_admin(SupervisorView(supervisor), token=token), admin):
            yield

    def started() -> None:
        ports = {"port": public.getsockname()[1], "admin_port": admin.getsockname()[1]}
        structlog.get_logger().info("listening", **ports)

    return asyncio.run(Supervisor(config, [public], companion=companion, on_start=started).run())


if __name__ == "__main__":
    sys.exit(main())
