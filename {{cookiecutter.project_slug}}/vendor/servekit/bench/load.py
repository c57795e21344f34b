"""Closed-loop load on one URL: wrk where it is installed, else a small generator of our own."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True)
class Load:
    """What one run saw: requests a second, latencies in milliseconds, answers that were no 2xx."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    failed: int


def run_load(
    url: str, *, connections: int, seconds: float, headers: dict[str, str], cpu: int | None
) -> Load:
    """Load `url` for `seconds` over keep-alive connections from a process pinned to `cpu`."""
    pin = ["taskset", "-c", str(cpu)] if cpu is not None and shutil.which("taskset") else []
    options = [part for pair in headers.items() for part in ("-H", ": ".join(pair))]
    if wrk := shutil.which("wrk"):
        command = [wrk, "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", *options, url]
        return read_wrk(_output([*pin, *command]))
    own = [sys.executable, __file__, url, str(connections), str(seconds), *options]
    return Load(**json.loads(_output([*pin, *own])))


def generator_name() -> str:
    """Return the generator that `run_load` uses."""
    return "wrk" if shutil.which("wrk") else "bench/load.py"


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def read_wrk(report: str) -> Load:
    """Read the figures of wrk's report."""
    failed = sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", report)))
    for errors in re.findall(r"connect (\d+), read (\d+), write (\d+), timeout (\d+)", report):
        failed += sum(map(int, errors))
    return Load(
        requests_per_second=float(re.search(r"Requests/sec:\s+([\d.]+)", report)[1]),  # type: ignore[index]
        p50_ms=_milliseconds(report, "50%"),
        p99_ms=_milliseconds(report, "99%"),
        failed=failed,
    )


def _milliseconds(report: str, label: str) -> float:
    found = re.search(rf"{label}\s+([\d.]+)(us|ms|s)\b", report)
    return float(found[1]) * UNITS[found[2]] if found else float("nan")


async def _client(
    host: str, port: int, request: bytes, until: float, latencies: list[float]
) -> int:
    reader, writer = await asyncio.open_connection(host, port)
    failed = 0
    try:
        while (start := time.perf_counter()) < until:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
            latencies.append(time.perf_counter() - start)
            failed += head[9:10] != b"2"
    finally:
        writer.close()
    return failed


async def generate(url: str, connections: int, seconds: float, headers: list[str]) -> Load:
    """Load `url` from this process; every answer must carry its length."""
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [f"GET {target} HTTP/1.1", f"Host: {parts.netloc}", *headers, "", ""]
    latencies: list[float] = []
    until = time.perf_counter() + seconds
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    clients = [
        _client(host, port, "\r\n".join(lines).encode(), until, latencies)
        for _ in range(connections)
    ]
    failed = sum(await asyncio.gather(*clients))
    latencies.sort()
    return Load(
        requests_per_second=len(latencies) / seconds,
        p50_ms=latencies[len(latencies) // 2] * 1e3,
        p99_ms=latencies[len(latencies) * 99 // 100] * 1e3,
        failed=failed,
    )


def main() -> None:
    """Run the generator; prints one JSON object."""
    import uvloop

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("connections", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("-H", "--header", action="append", default=[])
    arguments = parser.parse_args()
    load = uvloop.run(
        generate(arguments.url, arguments.connections, arguments.seconds, arguments.header)
    )
    print(json.dumps(load.__dict__))


if __name__ == "__main__":
    main()
