"""Descriptors that a process of the service was handed."""

from __future__ import annotations

import os
from collections.abc import Iterable


def keep_from_programs(descriptors: Iterable[int]) -> None:
    """Close these in programs that this process executes, as Python does with all that it opens.

    `os.system("daemon &")` would go on with the service's port, and with the socket whose end says
    that this process ended.
    """
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
