import pytest

from servekit.resilience.deadlines import Deadline, current_deadline, remaining, without_deadline


def test_without_a_deadline_the_default_holds():
    assert remaining(0.25) == 0.25


@pytest.mark.parametrize(("seconds", "least", "most"), [(10, 1, 1), (0.5, 0.4, 0.5), (0, 1, 1)])
def test_a_call_gets_the_smaller_of_its_own_limit_and_what_is_left(seconds, least, most):
    token = current_deadline.set(Deadline(seconds))
    assert least <= remaining(1) <= most
    current_deadline.reset(token)


def test_what_is_left_is_never_negative_and_a_begun_answer_has_no_deadline():
    deadline = Deadline(10)
    token = current_deadline.set(deadline)
    deadline.at = 0
    assert remaining(1) == 0
    deadline.lift()
    assert remaining(1) == 1
    current_deadline.reset(token)


def test_work_that_is_not_the_requests_own_has_no_deadline_of_it():
    deadline = Deadline(10)
    token = current_deadline.set(deadline)
    deadline.at = 0

    assert without_deadline().run(remaining, 1) == 1
    assert remaining(1) == 0
    current_deadline.reset(token)
