"""The image is built from locked packages and the tree alone, and runs as one process."""

import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from programs import run


@pytest.fixture
def dockerfile(project):
    return (project / "Dockerfile").read_text()


def test_it_installs_wheels_by_hash_or_from_the_tree_without_an_index(dockerfile):
    lines = dockerfile.replace("\\\n", " ")
    commands = re.findall(r"pip (?:--python \S+ )?(?:install|wheel) [^&\n]*", lines)
    assert len(commands) == 4
    for command in commands:
        by_hash = "--require-hashes" in command and "--only-binary :all:" in command
        assert by_hash or "--no-deps --no-index" in command, command


def test_it_is_built_without_a_frontend_from_elsewhere(dockerfile):
    assert not re.search(r"^#\s*syntax=", dockerfile, re.MULTILINE)


def test_the_service_is_process_one_and_ends_on_sigterm(dockerfile):
    assert dockerfile.splitlines()[-1] == 'ENTRYPOINT ["python", "-m", "service"]'
    assert "STOPSIGNAL SIGTERM\n" in dockerfile
    assert re.search(r'HEALTHCHECK .*\\\n +CMD \["python", ', dockerfile)


class Probed(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self):
        self.send_response(self.status if self.path == "/livez" else 404)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("written", ["{}", '"{}"', "'{}'", " {} "])
def test_the_check_of_health_reads_the_port_as_the_service_does(dockerfile, written):
    """`docker --env-file` keeps quotes and blanks."""
    [text] = re.findall(r"HEALTHCHECK .*\\\n +CMD (.*)", dockerfile)
    command = json.loads(text)
    with HTTPServer(("127.0.0.1", 0), Probed) as server:
        threading.Thread(target=server.serve_forever).start()
        for Probed.status, code in ((200, 0), (503, 1)):
            environment = {**os.environ, "PORT": written.format(server.server_port)}
            done = subprocess.run([sys.executable, *command[2:]], env=environment, check=False)
            assert done.returncode == code
        server.shutdown()


def test_python_is_the_one_of_the_answer(project, dockerfile):
    assert 'ARG PYTHON_VERSION="3.11"\n' in dockerfile
    assert "FROM python:${PYTHON_VERSION}-slim-bookworm AS base\n" in dockerfile
    # The workflows read it from there.
    for line in re.findall(
        r"sed -n '(.*)' Dockerfile", (project / ".github/workflows/ci.yml").read_text()
    ):
        assert run(project, "sed", "-n", line, "Dockerfile").stdout == "python=3.11\n"


def test_the_context_holds_only_what_the_build_copies(project):
    lines = (project / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule for rule in rules if rule.startswith("!")} == {
        "!LICENSE",
        "!README.md",
        "!pyproject.toml",
        "!requirements/build.txt",
        "!requirements/runtime.txt",
        "!src",
        "!vendor/servekit/LICENSE",
        "!vendor/servekit/README.md",
        "!vendor/servekit/pyproject.toml",
        "!vendor/servekit/src",
    }
