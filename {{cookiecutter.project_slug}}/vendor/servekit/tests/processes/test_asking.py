"""The commands that ask a running service, where there is none."""

import pytest

ASKING = ("status", "top", "profile", "heap", "heap --growth", "reload", "stop", "scale 2")


def test_commands_say_so_when_no_service_answers(run, ports):
    done = run("status")
    assert done.returncode == 1
    assert f"nothing answers at http://127.0.0.1:{ports['ADMIN_PORT']}" in done.stderr
    assert "is the service running, and are ADMIN_HOST and ADMIN_PORT its own?" in done.stderr


@pytest.mark.parametrize("command", [*ASKING, "doctor"])
def test_commands_ask_the_service_on_the_port_that_they_are_told(run, command):
    done = run(*command.split(), "--on-port", "1")
    assert done.returncode == (2 if command == "doctor" else 1)
    assert "nothing answers at http://127.0.0.1:1:" in done.stderr


@pytest.mark.parametrize("port", ["0", "-1", "65536", "http"])
@pytest.mark.parametrize("command", [*ASKING, "doctor"])
def test_a_port_that_there_is_not_is_refused_before_anybody_is_asked(run, command, port):
    done = run(*command.split(), "--on-port", port)
    assert done.returncode == (3 if command == "doctor" else 2)
    assert f"argument --on-port: 1 to 65535, not {port}" in done.stderr


def test_what_stands_in_files_is_told_though_there_is_no_admin_port(run, tmp_path):
    (tmp_path / "kept.txt").write_text("main;work 7\n")
    done = run("profile", "--from", str(tmp_path / "kept.txt"), "--output", "-", ADMIN_PORT="0")
    assert "admin port" not in done.stderr
    done = run("heap", "--diff", "none.heap", "nor.heap", ADMIN_PORT="0")
    assert done.returncode == 1
    assert "none.heap" in done.stderr
    assert "admin port" not in done.stderr


@pytest.mark.parametrize("option", ["--seconds", "--hertz"])
@pytest.mark.parametrize("value", ["-10", "0", "nan", "inf", "soon"])
def test_a_profile_of_no_length_is_refused(run, option, value):
    done = run("profile", f"{option}={value}")
    assert done.returncode == 2
    assert option in done.stderr


def test_what_a_file_cannot_be_asked_is_refused(run, tmp_path):
    kept = tmp_path / "kept.txt"
    kept.write_text("main;work 7\n")
    done = run("profile", "--from", str(kept), "--mode", "waits")
    assert done.returncode == 1
    assert "--mode is for a service that runs" in done.stderr
    kept.write_text("(tasks) 5\n")
    assert "is no profile of collapsed stacks" in run("profile", "--from", str(kept)).stderr
    snapshot = tmp_path / "curl.json"
    snapshot.write_text('{"schema": 1, "pid": 1}')
    done = run("heap", "--diff", str(snapshot), str(snapshot))
    assert "was not written by `heap --out`" in done.stderr


@pytest.mark.parametrize("command", ASKING)
def test_who_asks_needs_no_more_settings_than_those_of_the_admin_port(run, command):
    """As beside a unit of systemd, whose environment has the others."""
    done = run(*command.split(), "--on-port", "1", GREETING_LENGTH="long")
    assert done.returncode == 1
    assert "nothing answers at http://127.0.0.1:1:" in done.stderr
    assert "GREETING_LENGTH" not in done.stderr
    done = run(*command.split(), GREETING_LENGTH="long", ADMIN_PORT="no port")
    assert done.stderr.startswith("ADMIN_PORT: ")
