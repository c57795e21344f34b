"""Open connections of every worker, in memory that all of them share."""

from __future__ import annotations

import mmap
import os
import struct
import tempfile

ENTRY = struct.Struct("=i")
ENTRIES = 1024
HIGHEST = 0  # the first entry holds the highest one in use
FREE = -2
ABSENT = -1


class ConnectionCounts:
    """One entry a worker: its open connections, or that it takes none.

    Each worker writes its own entry only. An entry is four aligned bytes, so reads are never torn.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._memory = mmap.mmap(fd, ENTRIES * ENTRY.size)
        self._entries = memoryview(self._memory).cast("i")

    @classmethod
    def create(cls) -> ConnectionCounts:
        """Make a table whose memory ends with the last process that holds it."""
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create("connections")
        else:
            with tempfile.TemporaryFile() as file:
                fd = os.dup(file.fileno())
        os.ftruncate(fd, ENTRIES * ENTRY.size)
        counts = cls(fd)
        for entry in range(1, ENTRIES):
            counts.release(entry)
        return counts

    def reserve(self) -> int:
        """Reserve an entry for a new worker; only the supervisor does."""
        entry = next(entry for entry in range(1, ENTRIES) if self._entries[entry] == FREE)
        self._entries[entry] = ABSENT
        self._entries[HIGHEST] = max(self._entries[HIGHEST], entry)
        return entry

    def release(self, entry: int) -> None:
        """Free the entry of a worker that has ended."""
        self._entries[entry] = FREE

    def publish(self, entry: int, connections: int) -> None:
        """Say how many connections the worker of this entry has open."""
        self._entries[entry] = connections

    def withdraw(self, entry: int) -> None:
        """Say that the worker of this entry takes no more connections."""
        self._entries[entry] = ABSENT

    def least_of_other_workers(self, entry: int) -> int | None:
        """Return the fewest connections of any other worker that takes some; None without one."""
        least = None
        for other in range(1, self._entries[HIGHEST] + 1):
            count = self._entries[other]
            if count >= 0 and other != entry and (least is None or count < least):
                least = count
        return least

    def own_count(self, entry: int) -> OwnCount:
        """Return one worker's side of the table."""
        return OwnCount(self, entry)

    def close(self) -> None:
        """Let go of the memory; other processes keep theirs."""
        self._entries.release()
        self._memory.close()
        os.close(self.fd)


class OwnCount:
    """One worker's side of the table."""

    def __init__(self, counts: ConnectionCounts, entry: int) -> None:
        self._counts = counts
        self._entry = entry

    def publish(self, connections: int) -> None:
        """Say how many connections this worker has open."""
        self._counts.publish(self._entry, connections)

    def withdraw(self) -> None:
        """Say that this worker takes no more connections."""
        self._counts.withdraw(self._entry)

    def least_of_other_workers(self) -> int | None:
        """Return the fewest connections of any other worker that takes some; None without one."""
        return self._counts.least_of_other_workers(self._entry)
