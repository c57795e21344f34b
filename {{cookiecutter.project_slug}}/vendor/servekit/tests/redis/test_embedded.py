import signal
import subprocess
import sys
import time
from pathlib import Path

import redis
from servekit.redis.embedded import EmbeddedServer

OWNER = """
import sys, time
from servekit.redis.embedded import EmbeddedServer
with EmbeddedServer() as server:
    print(server.path, flush=True)
    time.sleep(60)
"""


def gone(path: Path, seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        processes = subprocess.run(
            ["pgrep", "-f", str(path)], capture_output=True, check=False
        ).stdout
        if not processes:
            return True
        time.sleep(0.02)
    return False


def test_it_answers_while_entered_and_is_gone_after():
    with EmbeddedServer() as server:
        path = server.path
        with redis.Redis(unix_socket_path=str(path)) as client:
            assert client.ping()

    assert gone(path)
    assert not path.parent.exists()


def test_it_is_gone_after_its_owner_was_killed():
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    with owner:
        path = Path(owner.stdout.readline().strip())
        owner.send_signal(signal.SIGKILL)

    assert gone(path)
    assert not path.parent.exists()
