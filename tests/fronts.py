"""Caddy and nginx as real processes, with the files that a project has for them."""

import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from running import Guarded, clean_environment, patience, reserved_port

START_SECONDS = 15.0

NGINX = """
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{}}
http {{
    access_log off;
    include {types};
    {temporary}
    include {folder}/service.conf;
}}
"""
KINDS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@dataclass
class Front:
    """A front that answers at `https://localhost:port` with a certificate of its `authority`."""

    name: str
    port: int
    authority: Path
    folder: Path

    @property
    def context(self) -> ssl.SSLContext:
        """What a client trusts; a new one each time, as clients set protocols in it."""
        return trusting(self.authority)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"


@contextmanager
def caddy(project: Path, folder: Path, service: str) -> Iterator[Front]:
    """Run Caddy before a service, as compose does; its authority lies in the folder."""
    port = reserved_port()
    environment = clean_environment(
        SITE="localhost",
        UPSTREAM=service,
        HTTP_PORT=reserved_port(),
        HTTPS_PORT=port,
        CADDY_ADMIN=f"localhost:{reserved_port()}",
        STATIC=folder,
        XDG_DATA_HOME=folder,
        XDG_CONFIG_HOME=folder,
    )
    command = ["caddy", "run", "--adapter", "caddyfile"]
    command += ["--config", str(project / "deploy/caddy/Caddyfile")]
    authority = folder / "caddy/pki/authorities/local/root.crt"
    with running(command, folder, environment):
        wait_for(lambda: authority.exists() and shakes_hands(port, authority), folder)
        yield Front("caddy", port, authority, folder)


@contextmanager
def nginx(project: Path, folder: Path, service: str) -> Iterator[Front]:
    """Run nginx before a service, with a certificate of its own; it writes into the folder."""
    port = reserved_port()
    certificate = make_certificate(folder)
    text = (project / "deploy/nginx/service.conf").read_text()
    for old, new in {
        "server 127.0.0.1:8000": f"server {service}",
        "listen 80;": f"listen 127.0.0.1:{reserved_port()};",
        "listen [::]:80;": "",
        "listen 443 ": f"listen 127.0.0.1:{port} ",
        "listen [::]:443 ssl http2;": "",
        "/etc/nginx/": f"{folder}/",
        "root /srv;": f"root {folder};",
    }.items():
        assert old in text, old
        text = text.replace(old, new)
    (folder / "service.conf").write_text(text)
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in KINDS)
    types = folder / "mime.types"
    types.write_text("types { text/css css; }")
    user = "user root;" if os.geteuid() == 0 else ""
    whole = NGINX.format(folder=folder, temporary=temporary, user=user, types=types)
    (folder / "nginx.conf").write_text(whole)
    command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]
    with running(command, folder, clean_environment()):
        wait_for(lambda: shakes_hands(port, certificate), folder)
        yield Front("nginx", port, certificate, folder)


FRONTS = {"caddy": caddy, "nginx": nginx}


def find(name: str) -> str | None:
    """Return where a front is installed; Debian keeps nginx off the PATH of users."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


@contextmanager
def running(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[None]:
    program = find(command[0])
    assert program is not None
    with (folder / "front.log").open("wb") as log:
        guarded = Guarded(
            [program, *command[1:]],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield
        finally:
            guarded.close()


def make_certificate(folder: Path) -> Path:
    """Make a certificate for localhost, by the command that stands in the file."""
    certificate = folder / "service.crt"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "365"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-keyout", str(folder / "service.key"), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate


def trusting(authority: Path) -> ssl.SSLContext:
    """Return a context that trusts one authority, and asks for HTTP/2 and 1.1."""
    context = ssl.create_default_context(cafile=str(authority))
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def shakes_hands(port: int, authority: Path) -> bool:

    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=patience(2)) as plain,
            trusting(authority).wrap_socket(plain, server_hostname="localhost"),
        ):
            return True
    except OSError:
        return False


def wait_for(condition, folder: Path) -> None:
    deadline = time.monotonic() + patience(START_SECONDS)
    while not condition():
        assert time.monotonic() < deadline, (folder / "front.log").read_text()
        time.sleep(0.05)
