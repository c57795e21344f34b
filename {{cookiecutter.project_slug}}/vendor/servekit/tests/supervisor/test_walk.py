"""Whatever happens at random: what is wanted comes back, and a bug that was there once is found."""

import pytest

from servekit.supervisor import events
from servekit.supervisor.decisions import Decisions
from tests.supervisor.walk import ViolationError, walk

STEPS = 20_000


def test_a_random_walk_through_faults_breaks_no_promise():
    assert walk(STEPS, seed=1) > 50


class LosesASlot(Decisions):
    """The keeper of a slot catches its own kind of error only, and ends with any other."""

    def _note_failed_start(self, worker, failure):
        super()._note_failed_start(worker, failure)
        if failure.reason == "EAGAIN":
            self.roster.slots[worker.slot].retry_at = float("inf")


class WaitsForTheDrain(Decisions):
    """A crash is noticed only when the one before has drained."""

    def _fill(self, slot):
        if not self.roster.of_slot(slot, "draining"):
            super()._fill(slot)


class ClosesWhatWasJustLoaded(Decisions):
    """Code is closed when a worker ends, unless it is current or run by another worker."""

    def _close_unused(self):
        candidate, self.rollout.candidate = self.rollout.candidate, None
        super()._close_unused()
        self.rollout.candidate = candidate


class ReplacesAgainAndAgain(Decisions):
    """A rollout that fails half way begins with newer code, for all workers."""

    def _note_failed_start(self, worker, failure):
        super()._note_failed_start(worker, failure)
        if worker.instead == "reload":
            self.rollout.load_at = self.roster.now


class StartsOver(Decisions):
    """Each HUP gives up the reload that is under way."""

    def _note(self, event):
        if isinstance(event, events.ReloadAsked):
            self.rollout.candidate = None
        super()._note(event)


class TriesOldCodeForEver(Decisions):
    """A slot whose worker does not start is given newer code only where no other is launchable."""

    def _fill(self, slot):
        slot.failing = False
        super()._fill(slot)


BUGS = [
    LosesASlot,
    WaitsForTheDrain,
    ClosesWhatWasJustLoaded,
    ReplacesAgainAndAgain,
    StartsOver,
    TriesOldCodeForEver,
]


@pytest.mark.parametrize("bug", BUGS)
def test_the_walk_finds_a_bug_that_was_there_once(bug):
    with pytest.raises(ViolationError):
        walk(STEPS, seed=1, kind=bug)
