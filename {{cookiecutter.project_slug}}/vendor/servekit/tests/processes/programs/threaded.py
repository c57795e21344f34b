"""An application whose import leaves a thread that never ends, for its interpreter to wait for."""

import threading
import time

from servekit.supervisor.program import Program
from tests.processes.programs import echo


def program() -> Program:
    threading.Thread(target=time.sleep, args=[3600], name="forgotten").start()
    return echo.program()
