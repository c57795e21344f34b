"""A service's command line as people and orchestrators run it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from servekit.testing import patience
from servekit.testing.guarded import guarded

COMMAND = [sys.executable, "-m", "demo"]
STOP_SECONDS = 15


def test_bad_settings_are_named_one_a_line_and_nothing_starts(run):
    began = time.monotonic()
    done = run(PORT="many", ENVIRONMENT="production")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert any(line.startswith("PORT: ") and "many" in line for line in lines)
    assert any(line.startswith("SECRET_KEY: ") for line in lines)
    assert "Traceback" not in done.stderr
    assert time.monotonic() - began < patience(5)


def test_a_taken_port_is_one_clear_line(run, ports):
    with socket.create_server(("127.0.0.1", int(ports["PORT"]))):
        done = run()
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"HOST and PORT: cannot listen on 127.0.0.1:{ports['PORT']}: Address already in use"
    ]


REFUSED = {
    "REDIS_URL": ["redis://:s3cret#x@h", "h:6379", "redis://h:p:1", "redis://h?family=0"],
    "SECRET_KEY": [","],
    "HOST": ["0.0.0.0:80", "x" * 300, "unix:/" + "x" * 200, "no.such.host.invalid"],
    "ALLOWED_HOSTS": ["a/b"],
    "GREETING_LENGTH": ["long\nlonger"],
    "ADMIN_TOKEN_FILE": ["/no/such/file"],
}


@pytest.mark.parametrize(
    ("name", "text"), [(name, each) for name in REFUSED for each in REFUSED[name]]
)
def test_what_cannot_work_ends_the_start_with_one_line_that_names_it(run, name, text):
    done = run(**{name: text})
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith((f"{name}: ", f"{name} and "))
    assert "s3cret" not in line


def test_settings_are_checked_with_an_exit_code_and_a_line_each(run, demo):
    assert (run("settings", "--check").returncode, run("settings", "--check").stderr) == (0, "")
    (demo / ".env").write_text("COLOUR=red\n")
    hinted = run("settings", "--check", LOGLEVEL="info")
    assert hinted.returncode == 0
    assert [line.partition(":")[0] for line in hinted.stderr.splitlines()] == ["COLOUR", "LOGLEVEL"]
    wrong = {"ENVIRONMENT": "production", "WORKERS": "x", "REDIS_NAMESPACE": "demo"}
    refused = run("settings", "--check", **wrong)
    assert refused.returncode == 1
    named = [line.partition(":")[0] for line in refused.stderr.splitlines()]
    assert named == ["WORKERS", "REDIS_URL", "SECRET_KEY", "COLOUR"]


def test_connections_are_tried_when_asked_for(run, redis_url):
    assert run("settings", "--check", "--connect", REDIS_URL=redis_url).returncode == 0
    away = run("settings", "--check", "--connect", REDIS_URL="redis://127.0.0.1:1")
    assert away.returncode == 1
    [line] = away.stderr.splitlines()
    assert line.startswith("REDIS_URL: ")
    assert "Connect call failed" in line
    assert run("settings", "--connect").returncode == 0  # there is none to try


@pytest.mark.parametrize("count", ["0", "-1", "513", "two"])
def test_a_number_of_workers_that_no_service_has_is_refused_before_it_is_asked(run, count):
    done = run("scale", "--", count)
    assert done.returncode == 2
    assert done.stderr.endswith(f"error: argument count: 1 to 512, not {count}\n")


def test_settings_are_shown_with_their_secrets_masked(run):
    done = run("settings", SECRET_KEY="do-not-show-this-to-anybody-at-all")
    assert "TIMEOUT_DRAIN_SECONDS=20" in done.stdout
    assert "do-not-show" not in done.stdout
    assert "usage" in run("--help").stdout


@contextlib.contextmanager
def started(folder, settings):
    """Run the service with one worker; yield its process and its events, as they come."""
    given = {"PATH": os.environ["PATH"], "WORKERS": "1"} | settings
    environment = {name: value for name, value in given.items() if value is not None}
    with guarded(COMMAND, cwd=folder, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        with process.stdout:
            yield process, (json.loads(line) for line in process.stdout)


def test_the_service_starts_is_shown_scaled_and_stopped(run, demo, ports):
    with started(demo, ports) as (process, events):
        event = next(event for event in events if event["event"] == "service_started")
        assert event["url"] == f"http://127.0.0.1:{ports['PORT']}"
        [worker] = json.loads(run("status", "--json").stdout)
        assert worker["state"] == "ready"
        environment = Path(f"/proc/{worker['pid']}/environ").read_bytes().split(b"\0")
        assert b"MALLOC_ARENA_MAX=2" in environment
        assert str(worker["pid"]) in run("status").stdout
        assert run("scale", "2").stdout == "ready: 2\n"
        assert any(event["event"] == "worker_started" and event["worker"] == 1 for event in events)
        assert run("stop").stdout == "stopped\n"
        assert any(event["event"] == "stopped" for event in events)
        assert process.wait(patience(STOP_SECONDS)) == 0


READ = [
    ["settings"],
    ["settings", "--example"],
    ["settings", "--check"],
    ["status"],
    ["status", "--json"],
    ["top", "--once"],
    ["heap"],
    ["get", "/metrics"],
    ["doctor", "--seconds", "5"],
]
"""Every command that prints what people pipe into `head`."""


def test_an_output_that_nobody_reads_to_its_end_ends_the_command_quietly(demo, ports):
    given = {"PATH": os.environ["PATH"]} | ports
    with started(demo, ports) as (_, events):
        assert any(event["event"] == "service_started" for event in events)
        for arguments in READ:
            reader, writer = os.pipe()
            os.close(reader)
            done = subprocess.run(
                [*COMMAND, *arguments], cwd=demo, env=given, stdout=writer, stderr=-1, check=False
            )
            os.close(writer)
            assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b""), arguments


def test_any_path_of_the_admin_port_is_printed_without_another_program(run, demo, ports):
    token = {"ADMIN_TOKEN": "t" * 32}
    with started(demo, ports | token) as (_, events):
        assert any(event["event"] == "service_started" for event in events)
        assert "Thread " in run("get", "/debug/threads?worker=0", **token).stdout
        assert run("get", "/metrics", **token).stdout.startswith("# HELP ")
        missing = run("get", "/no/such", **token)
        assert (missing.returncode, missing.stdout) == (1, "")
        assert "/no/such answered 404" in missing.stderr
        assert run("get", "metrics", **token).returncode == 2


def test_a_wrong_admin_token_is_refused_by_the_name_of_its_setting(run, demo, ports):
    with started(demo, ports | {"ADMIN_TOKEN": "t" * 32}) as (_, events):
        assert any(event["event"] == "service_started" for event in events)
        for given in ({}, {"ADMIN_TOKEN": "wrong"}):
            done = run("status", **given)
            assert done.returncode == 1
            assert "answered 401: send the service's ADMIN_TOKEN" in done.stderr


def test_an_embedded_redis_that_dies_is_an_error_in_the_log(demo, ports):
    with started(demo, ports) as (process, events):
        assert any(event["event"] == "service_started" for event in events)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        [guard] = [
            pid for pid in children if b"redis.sock" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        [server] = Path(f"/proc/{guard}/task/{guard}/children").read_text().split()[:1]
        os.kill(int(server), signal.SIGKILL)
        died = next(event for event in events if event["event"] == "embedded_redis_died")
        assert (died["level"], died["remedy"]) == ("error", "restart the service")
        process.send_signal(signal.SIGTERM)
        assert process.wait(patience(STOP_SECONDS)) == 0


def test_a_reload_waits_until_the_code_serves_or_says_why_it_does_not(run, demo, ports):
    code = demo / "demo" / "app.py"
    good = code.read_text()
    with started(demo, ports) as (_, events):
        assert any(event["event"] == "service_started" for event in events)
        code.write_text(good + "\nimport nothing_of_that_name\n")
        failed = run("reload")
        assert failed.returncode == 1
        assert "No module named 'nothing_of_that_name'" in failed.stderr
        assert "the old code serves on" in failed.stderr
        code.write_text(good)
        done = run("reload")
        assert (done.returncode, done.stdout) == (0, "the new code serves\n"), done.stderr
        [worker] = json.loads(run("status", "--json").stdout)
        assert worker["generation"] > 1


def test_a_reload_reads_the_settings_anew_for_limits_and_workers_too(run, demo, ports):
    (demo / ".env").write_text("WORKERS=1\n")
    with started(demo, ports | {"WORKERS": None}) as (_, events):
        assert any(event["event"] == "service_started" for event in events)
        (demo / ".env").write_text("WORKERS=2\nLIMIT_URI_BYTES=300\nPORT_=1\n")
        assert run("reload").returncode == 0
        assert asked(int(ports["PORT"]), "/" + "x" * 400).startswith(b"HTTP/1.1 414")
        assert [row["state"] for row in json.loads(run("status", "--json").stdout)] == ["ready"] * 2
        (demo / ".env").write_text("WORKERS=many\n")
        refused = run("reload", WORKERS="2")
        assert refused.returncode == 1
        assert "WORKERS" in refused.stderr


def asked(port, target):
    with socket.create_connection(("127.0.0.1", port), timeout=patience(5)) as client:
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return client.recv(65_536)


def test_a_reload_before_the_service_is_up_does_not_end_it(demo, ports):
    with started(demo, ports) as (process, events):
        while not handles(process.pid, signal.SIGTERM):
            time.sleep(0.002)
        process.send_signal(signal.SIGHUP)
        assert any(event["event"] == "service_started" for event in events)


def handles(pid, number):
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return int(caught.split()[1], 16) >> number - 1 & 1


def test_unix_sockets_serve_both_ports_and_leave_nothing_behind(run, demo, tmp_path):
    sockets = {"HOST": f"unix:{tmp_path}/public", "ADMIN_HOST": f"unix:{tmp_path}/admin"}
    with started(demo, sockets) as (process, events):
        event = next(event for event in events if event["event"] == "service_started")
        assert (event["url"], event["admin"]) == tuple(sockets.values())
        answer = ask(f"{tmp_path}/public", "GET /livez HTTP/1.1\r\nHost: localhost")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert (tmp_path / "public").stat().st_mode & 0o777 == 0o666
        assert (tmp_path / "admin").stat().st_mode & 0o777 == 0o600
        assert '"state": "ready"' in run("status", "--json", **sockets).stdout
        taken = run(**sockets)
        assert taken.returncode == 1
        assert f"cannot listen on {sockets['HOST']}: Address already in use" in taken.stderr
        assert run("stop", **sockets).returncode == 0
        assert process.wait(patience(STOP_SECONDS)) == 0
    assert not (tmp_path / "public").exists()
    assert not (tmp_path / "admin").exists()


def ask(path, head):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.sendall(f"{head}\r\nConnection: close\r\n\r\n".encode())
        return client.recv(65_536)
