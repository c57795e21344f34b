"""Thousands of recorded services: what is injected is named, and nothing else ever is."""

from collections import defaultdict
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from servekit.diagnosis.judgement import judge
from servekit.diagnosis.remedies import TITLES
from tests.diagnosis.model import IN_A_SECOND, RISES
from tests.diagnosis.modelled import seen

CAUSES = [*IN_A_SECOND, *RISES, "uneven_workers"]
LOOP = list(IN_A_SECOND)[:10]
SEEDS = st.integers(0, 2**32)
EACH = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def judged(causes, seed, workers=2):
    return judge(*seen(Random(seed), causes, workers=workers))


def named(judgement):
    return {verdict.cause for verdict in judgement.verdicts}


def test_every_cause_is_modelled():
    assert set(CAUSES) == set(TITLES)


@pytest.mark.parametrize("cause", CAUSES)
@EACH
@given(seed=SEEDS, workers=st.integers(1, 3))
def test_what_is_injected_is_named_and_nothing_else(cause, seed, workers):
    workers = max(2, workers) if cause == "uneven_workers" else workers
    judgement = judged([cause], seed, workers)
    assert named(judgement) == {cause}, judgement.cannot
    assert judgement.exit_code == 1


@settings(EACH, max_examples=300)
@given(seed=SEEDS, workers=st.integers(1, 3))
def test_a_service_that_is_well_is_called_healthy(seed, workers):
    judgement = judged([], seed, workers)
    assert (judgement.verdicts, judgement.cannot, judgement.exit_code) == ((), (), 0)


@settings(EACH, max_examples=300)
@given(
    seed=SEEDS,
    one=st.sampled_from([cause for cause in CAUSES if cause != "uneven_workers"]),
    other=st.sampled_from(list(RISES)),
)
def test_growth_is_named_beside_another_cause(seed, one, other):
    assert named(judged([one, other], seed)) == {one, other}


@settings(EACH, max_examples=300)
@given(seed=SEEDS, causes=st.lists(st.sampled_from(CAUSES), max_size=4, unique=True))
def test_whatever_is_injected_shares_never_exceed_the_whole(seed, causes):
    sums: dict[str, float] = defaultdict(float)
    for verdict in judged(causes, seed).verdicts:
        assert 1 <= verdict.score <= 100
        assert 0 <= verdict.share <= 1 + 1e-9
        sums[verdict.share_of] += verdict.share
    assert sums["stalled seconds"] <= 1 + 1e-9
    assert sums["request seconds"] <= 1 + 1e-9


@settings(EACH, max_examples=200)
@given(seed=SEEDS, cause=st.sampled_from(LOOP), wait=st.sampled_from(list(IN_A_SECOND)[11:]))
def test_a_loop_that_stands_still_is_the_cause_of_all_that_waits(seed, cause, wait):
    assert named(judged([wait, cause], seed)) == {cause}
