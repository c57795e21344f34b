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


def test_the_doctor_asks_alike_and_tells_its_own_failures_apart(run, demo):
    done = run("doctor", "--on-port", "1", GREETING_LENGTH="long")
    assert (done.returncode, "GREETING_LENGTH" in done.stderr) == (2, False)
    done = run("doctor", "--start", GREETING_LENGTH="long")
    assert (done.returncode, "GREETING_LENGTH" in done.stderr) == (3, True)
    done = run("doctor", ADMIN_PORT="no port")
    assert (done.returncode, done.stderr.startswith("ADMIN_PORT: ")) == (3, True)
    done = run("doctor", "--start", TMPDIR=str(demo / "none"), PYTHONPATH=str(no_temporary(demo)))
    assert done.returncode == 3
    assert done.stderr.startswith("the doctor failed itself: [Errno 2] No usable temporary")
    (demo / "demo" / "settings.py").write_text("1 / 0\n")
    done = run("doctor")
    assert done.returncode == 3
    assert done.stderr.startswith("the doctor failed itself: division by zero")


def no_temporary(folder):
    """Return a folder for PYTHONPATH with which no temporary folder is found."""
    place = folder / "first"
    place.mkdir()
    code = "import tempfile\ntempfile._candidate_tempdir_list = list\n"
    (place / "sitecustomize.py").write_text(code)
    return place


def test_a_file_that_cannot_be_written_is_known_before_anybody_is_asked(run, demo):
    for command in (["profile", "--output"], ["heap", "--out"], ["doctor", "--json"]):
        done = run(*command, "no/such/folder/f", "--on-port", "1")
        assert done.returncode in {1, 2, 3}
        assert "no/such/folder/f cannot be written" in done.stderr or command[0] == "doctor"
