"""A worker in an interpreter of its own, for platforms where forking is unsafe."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time

from servekit import signals
from servekit.children import end_at_once, end_children, end_within
from servekit.descriptors import keep_from_programs
from servekit.parent import wait_for_other_end
from servekit.supervisor.program import Assignment, load_program
from servekit.tuning import tune
from servekit.worker.application import import_early
from servekit.worker.worker import run_worker

ORPHAN_SECONDS = 3.0


def main() -> None:
    """Import the program and run it as the worker that the boot message describes."""
    signals.ignore(signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
    signals.ignore_job_control()
    signals.default_in_forks()
    signals.release()
    boot = json.loads(os.environ.pop("SERVEKIT_BOOT"))
    assignment = Assignment.parse(
        boot["assignment"], boot, channel=boot["channel"], stacks=boot["stacks"]
    )
    handed = [*assignment.listeners, assignment.counts, assignment.channel, assignment.stacks]
    keep_from_programs(handed)
    threading.Thread(target=end_with_supervisor, args=[assignment.stacks], daemon=True).start()
    try:
        program = load_program(boot["program"], boot["arguments"])
        import_early(program.asgi)
    except BaseException as error:  # noqa: BLE001 - whatever stops the import is the reason to report
        assignment.report_failure(error)
        end_within(ORPHAN_SECONDS)
        end_children()
        sys.exit(1)
    tune()
    # As a forked worker ends: a stuck thread of the application must not hold the process.
    end_at_once(run_worker(program, assignment))


def end_with_supervisor(stacks: int) -> None:
    """End some time after the supervisor that reads this pipe, even while the loop is blocked.

    A forked worker has its zygote for that.
    """
    wait_for_other_end(stacks)
    time.sleep(ORPHAN_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
