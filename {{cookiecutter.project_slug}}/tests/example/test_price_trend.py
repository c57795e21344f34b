import random

import pytest

from service.example.price_trend import price_trend


def test_a_line_is_found_exactly():
    assert price_trend([10.0, 12.0, 14.0, 16.0]) == (2.0, 10.0, 1.0)


def test_wild_prices_do_not_bend_it():
    prices = [100 - 0.5 * day for day in range(100)]
    for day in random.Random(7).sample(range(100), 20):
        prices[day] = 10_000.0
    trend = price_trend(prices)
    assert trend.slope_per_day == pytest.approx(-0.5, abs=0.1)
    assert trend.direction == "falling"


@pytest.mark.parametrize(
    ("prices", "direction"),
    [
        ([1.0, 2.0, 3.0], "rising"),
        ([5.0, 5.0, 5.0], "flat"),
        ([3.0, 2.0, 1.0], "falling"),
        ([1.0, 2.0, 2.0, 1.0], "flat"),
    ],
)
def test_direction_is_said_in_a_word(prices, direction):
    assert price_trend(prices).direction == direction
