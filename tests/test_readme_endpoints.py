"""The service's README shows commands; each is run against the running service."""

import re
import shutil
import subprocess

import pytest
from render import ROOT, SERVICE

README = (ROOT / SERVICE / "README.md").read_text(encoding="utf-8").replace("\\\n", "")
COMMANDS = re.findall(r"^\$ (curl .*)$", README, re.MULTILINE)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_every_curl_command_of_the_readme_succeeds(start_service, tmp_path):
    service = start_service()
    assert len(COMMANDS) > 10
    for command in COMMANDS:
        strict = 'curl() { command curl --fail-with-body --silent --show-error "$@"; }'
        done = subprocess.run(
            ["bash", "-c", f"{strict}; api={service.base_url}; {command}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}\n{service.log}"
