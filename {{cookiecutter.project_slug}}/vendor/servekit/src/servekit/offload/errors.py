"""What can go wrong with work that was handed to another thread or process."""

from __future__ import annotations


class OffloadError(Exception):
    """An offloaded call gave no result for a reason that is not the function's own exception."""


class OffloadRejected(OffloadError):  # noqa: N818 - a full pool is an answer, not a fault
    """The pool and its queue are full, or no thread can start; try again after `retry_after` s."""

    def __init__(self, pool: str, retry_after: float, reason: str = "") -> None:
        super().__init__(reason or f"The {pool} pool and its queue are full.")
        self.retry_after = retry_after


class OffloadTimeout(OffloadError):  # noqa: N818 - named as the standard library names timeouts
    """The call did not end within its time limit, waiting for a place included."""

    def __init__(self, pool: str, seconds: float) -> None:
        super().__init__(f"The call did not end within {seconds:g} s in the {pool} pool.")
        self.seconds = seconds


class OffloadCrashed(OffloadError):  # noqa: N818 - says what happened to the process
    """The process that ran the call died; only this call failed."""


class RemoteTraceback(Exception):  # noqa: N818 - it carries text, it is never raised by itself
    """The traceback of the worker process, set as the cause of the exception that came back."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n\n{self.text}"
