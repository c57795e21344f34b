"""Open connections of every worker, in memory that all of them share."""

from __future__ import annotations

import mmap
import os
import struct
import tempfile

CELL = struct.Struct("=i")
CELLS = 1024
HIGHEST = 0  # the first cell holds the highest one in use
FREE = -2
ABSENT = -1


class Board:
    """One number a worker: its open connections, or that it takes none.

    Each worker writes its own cell only. A cell is four aligned bytes, so reads are never torn.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._memory = mmap.mmap(fd, CELLS * CELL.size)
        self._cells = memoryview(self._memory).cast("i")

    @classmethod
    def create(cls) -> Board:
        """Make a board whose memory ends with the last process that holds it."""
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create("connections")
        else:
            with tempfile.TemporaryFile() as file:
                fd = os.dup(file.fileno())
        os.ftruncate(fd, CELLS * CELL.size)
        board = cls(fd)
        for cell in range(1, CELLS):
            board.give_back(cell)
        return board

    def take(self) -> int:
        """Reserve a cell for a new worker; only the supervisor does."""
        cell = next(cell for cell in range(1, CELLS) if self._cells[cell] == FREE)
        self._cells[cell] = ABSENT
        self._cells[HIGHEST] = max(self._cells[HIGHEST], cell)
        return cell

    def give_back(self, cell: int) -> None:
        """Free the cell of a worker that has ended."""
        self._cells[cell] = FREE

    def write(self, cell: int, connections: int) -> None:
        """Say how many connections the worker of this cell has open."""
        self._cells[cell] = connections

    def leave(self, cell: int) -> None:
        """Say that the worker of this cell takes no more connections."""
        self._cells[cell] = ABSENT

    def least_of_others(self, cell: int) -> int | None:
        """Return the fewest connections of any other worker that takes some; None without one."""
        least = None
        for other in range(1, self._cells[HIGHEST] + 1):
            count = self._cells[other]
            if count >= 0 and other != cell and (least is None or count < least):
                least = count
        return least

    def cell(self, number: int) -> Cell:
        """Return one worker's side of the board."""
        return Cell(self, number)

    def close(self) -> None:
        """Let go of the memory; other processes keep theirs."""
        self._cells.release()
        self._memory.close()
        os.close(self.fd)


class Cell:
    """One worker's side of the board."""

    def __init__(self, board: Board, number: int) -> None:
        self._board = board
        self._number = number

    def write(self, connections: int) -> None:
        """Say how many connections this worker has open."""
        self._board.write(self._number, connections)

    def leave(self) -> None:
        """Say that this worker takes no more connections."""
        self._board.leave(self._number)

    def least_of_others(self) -> int | None:
        """Return the fewest connections of any other worker that takes some; None without one."""
        return self._board.least_of_others(self._number)
