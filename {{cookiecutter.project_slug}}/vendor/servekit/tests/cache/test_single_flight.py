from servekit.cache.single_flight import SingleFlight
from servekit.deadlines import Deadline, current_deadline, remaining


async def test_a_run_that_many_wait_for_does_not_end_with_the_time_of_the_first():
    flight: SingleFlight[float] = SingleFlight()

    async def work() -> float:
        return remaining(7)

    deadline = Deadline(1)
    deadline.at = 0
    token = current_deadline.set(deadline)
    assert await flight.join("a", work) == 7
    assert remaining(7) == 0
    current_deadline.reset(token)
