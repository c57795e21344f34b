"""Whatever the API's document allows or forbids to send is answered as the document says."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from chaos.report import Figure, at_least, case, exactly
from chaos.targets import Running, Target
from chaos.traffic.browser import Browser

SEED = os.environ.get("FUZZ_SEED", "32")
"""The same requests every time, unless told otherwise."""

SECONDS_MAX = 400
CREDENTIALS = {"username": "fuzz", "password": "correct horse battery"}
ENDS_THE_SESSION = "^DELETE /sessions?$"


@case(32, "API fuzzing from the OpenAPI document", own_app=True)
async def fuzzing(target: Target) -> list[Figure]:
    """Let schemathesis derive requests from the document and judge the answers by it."""
    examples = int(target.pace(60, 5))
    async with target.start(ENVIRONMENT="test") as running:
        served = (await running.get("/openapi.json")).status
    async with target.start(DEBUG="true") as running:
        user = Browser(running)
        await user.ask("POST", "/users", data=CREDENTIALS)
        await user.ask("POST", "/session", data=CREDENTIALS)
        cookie = ["--header", f"Cookie: dev-session={user.cookie}"]
        known = [*cookie, "--exclude-name-regex", ENDS_THE_SESSION]
        runs = [await _fuzz(running, examples, options) for options in ([], known)]
    for one in runs:
        if one["failures"] and not target.plain:
            print(one["printed"], file=sys.stderr)
    cases = [one["test_cases"] for one in runs]
    failures = [failure for one in runs for failure in one["failures"]]
    errors = [failure for failure in failures if failure["type"] == "ServerError"]
    return [
        exactly("the document outside of development", served, 404),
        at_least("requests", sum(one["generated"] for one in cases), target.pace(1000, 100)),
        exactly("failures", sum(one["unique_failures"] for one in cases), 0),
        exactly("answers of 5xx", sum(failure["count"] for failure in errors), 0),
        exactly("runs not completed", sum(not one["complete"] for one in runs), 0),
    ]


async def _fuzz(running: Running, examples: int, options: list[str]) -> dict[str, Any]:
    """Run schemathesis, and return its report and what it printed."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        report, document = Path(folder) / "report.json", Path(folder) / "openapi.json"
        document.write_text(await _document(running))
        process = await asyncio.create_subprocess_exec(
            *(_program(), "run", str(document), "--url", running.url),
            *("--checks", "all", "--max-examples", str(examples), "--seed", SEED),
            *("--continue-on-failure", "--no-shrink"),
            *("--report", "json", "--report-json-path", str(report), *options),
            cwd=folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(SECONDS_MAX):
                printed, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        found: dict[str, Any] = json.loads(report.read_text())
        return found | {"printed": printed.decode()}


async def _document(running: Running) -> str:
    """Return the API's document without the routes of chaos, some of which never end."""
    document = json.loads((await running.get("/openapi.json")).body)
    paths = document["paths"].items()
    document["paths"] = {path: item for path, item in paths if not path.startswith("/chaos")}
    return json.dumps(document)


def _program() -> str:
    """Return the fuzzer, which has an environment of its own.

    Raises:
        RuntimeError: It is not installed.
    """
    own = Path(sys.prefix) / "fuzz" / "bin" / "schemathesis"
    program = str(own) if own.exists() else shutil.which("schemathesis")
    if program is None:
        raise RuntimeError("schemathesis is not installed; `make chaos CASE=32` installs it.")
    return program
