"""An application whose import does not end."""

import sys
import time

from servekit.supervisor.program import Program


def program() -> Program:
    sys.stdout.write("hanging\n")
    sys.stdout.flush()
    time.sleep(3600)
    raise AssertionError
