"""The process that imports the application once and forks every worker from it.

It may be started ahead of the code that it is to load: see `spare.py`.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys
import threading
import time
import traceback
from typing import Any, NoReturn

from servekit import signals
from servekit.children import end_at_once, end_children, end_within
from servekit.descriptors import keep_from_programs
from servekit.event_log import get_logger
from servekit.interpreter import has_debugger
from servekit.parent import signal_at_parents_end
from servekit.supervisor.program import Assignment, Program, failure_of, load_program
from servekit.tuning import tune
from servekit.worker.application import import_early
from servekit.worker.shared_connections import open_sockets, refusal
from servekit.worker.spare import NotNeeded, import_ahead
from servekit.worker.worker import run_worker

ORPHAN_SECONDS = 3.0
END_SECONDS = 3.0
"""For what the application's import left to do at the end, such as threads that never end."""

FDS_OF_A_WORKER = 2  # its control channel, and the pipe that takes its stacks

log = get_logger()


def main() -> None:
    """Import the program, then fork on request until told to end."""
    signals.ignore(*signals.SENT_TO_A_GROUP)
    signals.ignore_job_control()
    signals.default_in_forks()
    signals.release()
    boot = json.loads(os.environ.pop("SERVEKIT_BOOT"))
    parent = boot.get("parent", os.getppid())  # a supervisor of before an upgrade says nothing
    # An import may hang, and reads nothing; it has the service's port.
    signal_at_parents_end(signal.SIGKILL, parent=parent)
    control = socket.socket(fileno=boot["control"])
    inherited = open_sockets()
    try:
        if boot.get("ahead"):
            boot = import_ahead(boot, control)
        keep_from_programs([*boot["listeners"], boot["counts"], control.fileno()])
        program = load_program(boot["program"], boot["arguments"])
        import_early(program.asgi)
    except NotNeeded:
        end_within(END_SECONDS)
        end_children()
        return
    except BaseException as error:  # noqa: BLE001 - whatever stops the import is the reason to report
        give_up(control, *failure_of(error))
    if threading.active_count() > 1:
        log.warning(
            "threads_before_fork",
            threads=[thread.name for thread in threading.enumerate()],
            remedy="workers do not have these threads: start them in the application's lifespan",
        )
    tune()  # also lets go of connections that nobody holds
    if not has_debugger() and (reason := refusal(inherited)):
        give_up(control, reason)
    # From here on its end is read; but not by one that is stopped.
    signal_at_parents_end(signal.SIGCONT, parent=parent)
    modules = [name for name in sys.modules if name.partition(".")[0] == "servekit"]
    report(control, event="loaded", pid=os.getpid(), modules=modules)
    Zygote(control, program, boot).serve()
    end_within(END_SECONDS)
    end_children()


def give_up(control: socket.socket, reason: str, trace: str = "") -> NoReturn:
    """Say why this code cannot be run, and end."""
    report(control, event="failed", reason=reason, trace=trace)
    end_within(END_SECONDS)
    end_children()
    sys.exit(1)


class Zygote:
    """Forks a worker for each assignment that it receives, and reports how each one ended."""

    def __init__(self, control: socket.socket, program: Program, boot: dict[str, Any]) -> None:
        self._control = control
        self._program = program
        self._boot = boot
        self._children: set[int] = set()
        self._wakeup, alarm = socket.socketpair()
        for end in (self._wakeup, alarm):
            end.setblocking(False)
        self._alarm = alarm
        signal.set_wakeup_fd(alarm.fileno(), warn_on_full_buffer=False)
        # Again: the application may have set handlers, for a process that is only its template.
        signals.ignore(*signals.OURS)

    def serve(self) -> None:
        """Fork for the supervisor; without it, wait for the workers, kill the rest, and end."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ, self._start_worker)
            selector.register(self._wakeup, selectors.EVENT_READ, self._reap)
            while all(key.data() for key, _ in selector.select()):
                pass
        self._outlive_orphans()

    def _start_worker(self) -> bool:
        """Read one assignment: the supervisor sends the next only after the reply to this one."""
        try:
            message, fds, _, _ = socket.recv_fds(self._control, 65536, FDS_OF_A_WORKER)
        except OSError:
            return False
        if not message:
            return False
        keep_from_programs(fds)
        self._fork(json.loads(message), fds)
        return True

    def _fork(self, assignment: dict[str, Any], fds: list[int]) -> None:
        try:
            with signals.held():
                pid = os.fork()
                if pid == 0:
                    self._become_worker(assignment, fds)
        except OSError as error:
            report(self._control, event="failed", reason=f"cannot fork: {error}")
        else:
            self._children.add(pid)
            report(self._control, event="forked", pid=pid)
        for fd in fds:
            os.close(fd)

    def _become_worker(self, assignment: dict[str, Any], fds: list[int]) -> NoReturn:
        code = 1
        try:
            for end in (self._control, self._wakeup, self._alarm):
                end.close()
            channel, stacks = fds
            code = run_worker(
                self._program,
                Assignment.parse(assignment, self._boot, channel=channel, stacks=stacks),
            )
        except BaseException:  # noqa: BLE001 - a worker must never return into the zygote's loop
            traceback.print_exc()
        finally:
            end_at_once(code)

    def _reap(self) -> bool:
        self._wakeup.recv(4096)
        for pid in list(self._children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._children.discard(pid)
                report(
                    self._control,
                    event="exited",
                    pid=pid,
                    status=os.waitstatus_to_exitcode(status),
                )
        return True

    def _outlive_orphans(self) -> None:
        """See to it that no worker outlives the supervisor, not even one whose loop is blocked."""
        deadline = time.monotonic() + ORPHAN_SECONDS
        while self._children:
            for pid in list(self._children):
                if os.waitpid(pid, os.WNOHANG)[0]:
                    self._children.discard(pid)
                elif time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)


def report(control: socket.socket, **message: object) -> None:
    """Send one line to the supervisor; it may be gone."""
    try:
        control.sendall(json.dumps(message).encode() + b"\n")
    except OSError:
        return


if __name__ == "__main__":
    main()
