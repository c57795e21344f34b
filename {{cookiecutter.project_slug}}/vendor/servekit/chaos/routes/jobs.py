"""What the offload processes run; imports little, as they do."""

import os
import time


def compute(seconds: float) -> int:
    """Use a CPU for so many seconds of its time, and return the process."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass
    return os.getpid()
