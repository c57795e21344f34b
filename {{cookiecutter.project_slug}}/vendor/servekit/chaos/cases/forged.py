"""What a client claims about itself is not believed."""

from __future__ import annotations

import asyncio
import json

from chaos.report import Figure, case, exactly
from chaos.targets import Running, Target
from chaos.traffic.client import Request

FORGED = "203.0.113.66"
PROXY = "192.0.2.1"
BAD_REQUEST = 400

CLAIMS: list[tuple[tuple[str, str], ...]] = [
    (("X-Forwarded-For", FORGED),),
    (("X-Forwarded-For", f"{FORGED}, {PROXY}"),),
    (("X-Forwarded-For", FORGED), ("X-Forwarded-For", FORGED)),
    (("X-Forwarded-For", f'"[2001:db8::66]:1", {FORGED}'),),
    (("X_Forwarded_For", FORGED),),
    (("X-Real-IP", FORGED), ("X-Client-IP", FORGED), ("True-Client-IP", FORGED)),
    (("CF-Connecting-IP", FORGED), ("Fastly-Client-IP", FORGED)),
    (("Forwarded", f"for={FORGED};host=evil.example;proto=https"),),
    (("X-Forwarded-Proto", "https"), ("X-Forwarded-Ssl", "on"), ("Front-End-Https", "on")),
    (("X-Forwarded-Host", "evil.example"), ("X-Host", "evil.example")),
    (("X-Forwarded-Server", "evil.example"), ("X-Original-Host", "evil.example")),
    (("X-Forwarded-Port", "443"), ("X-Forwarded-Prefix", "/admin")),
    (("X-Original-URL", "/admin"), ("X-Rewrite-URL", "/admin")),
    (("X-HTTP-Method-Override", "DELETE"), ("X-Method-Override", "DELETE")),
]

HOSTS = [
    "evil.example",
    "localhost.evil.example",
    "evil.example:80",
    "127.0.0.1.evil.example",
    "127.0.0.2",
    "localhost:80@evil.example",
    "localhost:x",
    "localhost,evil.example",
    "[::2]",
    "2130706433",
    "*",
]


@case(34, "forged Host, X-Forwarded-* and Forwarded")
async def forged(target: Target) -> list[Figure]:
    """Claim to be someone, and somewhere, else: with no proxy in front, then behind one."""
    async with target.start() as running:
        truth = await _asked(running, ())
        believed = 0
        for claim in CLAIMS:
            believed += await _asked(running, claim) != truth
        accepted = 0
        for host in HOSTS:
            accepted += await _status_with(running, host) != BAD_REQUEST
        own = await _status_with(running, f"LocalHost.:{running.port}")
    # Behind one proxy, the last entry is the proxy's word and the others are the client's.
    async with target.start(TRUSTED_PROXY_HOPS="1", FORWARDED_ALLOW_IPS="*") as running:
        behind = await _asked(running, (("X-Forwarded-For", f"{FORGED}, 198.51.100.7"),))
    return [
        exactly("the client is the peer", str(truth["client"]), "127.0.0.1"),
        exactly(f"claims believed, of {len(CLAIMS)}", believed, 0),
        exactly(f"unknown hosts not answered 400, of {len(HOSTS)}", accepted, 0),
        exactly("its own name, spelled oddly", own, 200),
        exactly("behind one proxy, the client", str(behind["client"]), "198.51.100.7"),
    ]


async def _asked(running: Running, headers: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Return what the application sees of a request with these headers."""
    answer = await running.exchange(Request("/chaos/asker", headers=headers))
    seen: dict[str, str] = json.loads(answer.body)
    return seen


async def _status_with(running: Running, host: str) -> int:
    """Return the status of a request for a host."""
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection(*running.address)
        head = f"GET /chaos/asker HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        status = int((await reader.read()).split(b" ", 2)[1])
        writer.close()
        return status
