import subprocess
import time

import pytest
from running import clean_environment, patience


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"PORT": "http"}, ["PORT"]),
        ({"ENVIRONMENT": "production"}, ["REDIS_URL", "SECRET_KEY", "DATABASE_URL"]),
        (
            {
                "ENVIRONMENT": "production",
                "REDIS_URL": "redis://localhost",
                "SECRET_KEY": "short",
                "ALLOWED_HOSTS": "*",
                "DEBUG": "true",
            },
            ["SECRET_KEY", "ALLOWED_HOSTS", "DEBUG", "DATABASE_URL"],
        ),
    ],
)
def test_bad_settings_are_refused_one_line_each(installed_service, tmp_path, environment, named):
    begin = time.monotonic()
    ended = subprocess.run(
        [installed_service / ".venv" / "bin" / "my-service"],
        cwd=tmp_path,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=patience(30),
        check=False,
    )

    assert ended.returncode == 1
    assert time.monotonic() - begin < patience(5)
    lines = (ended.stdout + ended.stderr).splitlines()
    assert [line.split(":")[0] for line in lines] == named
