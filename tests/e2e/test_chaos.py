from running import make

# Those that hold whatever else the machine does; milliseconds are a matter of `make chaos`.
CASES = "9,20-25,29,30,34-36,43,45"


def test_short_versions_of_the_chaos_cases_pass(installed_service):
    done = make(installed_service, "chaos", f"CASE={CASES}", "ARGS=--short --alone")
    assert done.returncode == 0, done.stdout + done.stderr
