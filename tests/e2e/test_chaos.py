import re

from running import make

# Those that hold whatever else the machine does; milliseconds are a matter of `make chaos`.
CASES = "9,20-25,29,30,34-36,43,45"


def test_short_versions_of_the_chaos_cases_pass(installed_service):
    done = make(installed_service, "chaos", f"CASE={CASES}", "ARGS=--short --alone")
    shown = done.stdout + done.stderr
    assert re.search(r"^\d+ passed, 0 failed", done.stdout, re.MULTILINE), shown
    # A time that others' load stood in the way of is no failure; chaos says so, and ends with 3.
    assert done.returncode == 0 or "cannot be judged here" in done.stdout, shown
