"""The signals that a service is told with: what they do in its processes, and not in others."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SENT_TO_A_GROUP = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1)
"""What a terminal or a service manager sends to all processes; the supervisor carries it out."""

OURS = (*SENT_TO_A_GROUP, signal.SIGCHLD)
JOB_CONTROL = (signal.SIGTTIN, signal.SIGTTOU)


def ignore(*numbers: int) -> None:
    """Let signals do nothing in this process, and what they always do in programs it executes."""
    for number in numbers:
        signal.signal(number, _do_nothing)  # SIG_IGN would outlive an exec
        signal.siginterrupt(number, False)


def _do_nothing(*_: object) -> None:
    pass


def ignore_job_control() -> None:
    """Ignore that a process in the background reads from the terminal, or sets it.

    Really ignored: for a handler the kernel would send the signal again with each new attempt, to
    the supervisor too, which adds and removes workers by it.
    """
    for number in JOB_CONTROL:
        signal.signal(number, signal.SIG_IGN)


def default_in_forks() -> None:
    """See to it that whatever is forked from this process can be ended by its signals.

    It has our handlers, and the descriptor that wakes the loop: to end it would be to end us. What
    it is sent at once waits until it has let go of them.
    """
    os.register_at_fork(before=_hold, after_in_parent=_restore, after_in_child=_default)


_forking = threading.local()


def _hold() -> None:
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, OURS)


def _restore() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def _default() -> None:
    signal.set_wakeup_fd(-1)
    for number in OURS:
        signal.signal(number, signal.SIG_DFL)
    _restore()


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Keep signals from this thread for a while; what it starts keeps them off until `release`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, OURS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def release() -> None:
    """Let signals in that were held when this process was started."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, OURS)
