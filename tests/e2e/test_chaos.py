import subprocess
import sys

from running import clean_environment

# Those that hold whatever else the machine does; milliseconds are a matter of `make chaos`.
CASES = "9,20-25,29,30,34-36,43"


def test_short_versions_of_the_chaos_cases_pass(rendered_service):
    done = subprocess.run(
        [sys.executable, "-m", "chaos", "--short", "--alone", "--case", CASES],
        cwd=rendered_service,
        env=clean_environment(PYTHONPATH="src:."),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
