"""Opens what a file says while its code is loaded, as modules of applications do."""

import asyncio
import gc
import os
import socket
import sys
from pathlib import Path
from types import ModuleType

from servekit.supervisor.program import Program
from tests.processes.programs import echo

gc.disable()  # what is in a cycle stays until somebody collects it

KEPT: list[object] = []


def open_one(line: str) -> None:
    kind, _, address = line.partition(" ")
    host, _, port = address.rpartition(":")
    match kind:
        case "tcp":
            KEPT.append(socket.create_connection((host, int(port))))
        case "unix":
            KEPT.append(client := socket.socket(socket.AF_UNIX))
            client.connect(address)
        case "udp":
            KEPT.append(client := socket.socket(type=socket.SOCK_DGRAM))
            client.connect((host, int(port)))
        case "listener":
            KEPT.append(socket.create_server(("127.0.0.1", 0)))
        case "pair":
            KEPT.append(socket.socketpair())
        case "debugger":
            sys.modules["pydevd"] = ModuleType("pydevd")
        case "loop":
            KEPT.append(asyncio.new_event_loop())
        case "closed":
            socket.create_connection((host, int(port))).close()
        case "dropped":
            cycle: list[object] = [socket.create_connection((host, int(port)))]
            cycle.append(cycle)


def program() -> Program:
    for line in Path(os.environ["OPEN_FILE"]).read_text().splitlines():
        open_one(line)
    return echo.program()
