import random

import pytest

from service.example.price_trend import price_trend


def test_a_line_is_found_exactly():
    assert price_trend([0, 1, 2, 3], [10.0, 12.0, 14.0, 16.0]) == (2.0, 10.0, 1.0)


def test_the_order_of_the_points_does_not_matter():
    assert price_trend([3, 0, 2, 1], [16.0, 10.0, 14.0, 12.0]) == (2.0, 10.0, 1.0)


def test_wild_points_do_not_bend_it():
    prices = [100 - 0.5 * day for day in range(100)]
    for day in random.Random(7).sample(range(100), 20):
        prices[day] = 10_000.0
    trend = price_trend(list(range(100)), prices)
    assert trend.slope_per_day == pytest.approx(-0.5, abs=0.1)
    assert trend.direction == "falling"


@pytest.mark.parametrize(
    ("prices", "direction"),
    [([1.0, 2.0, 3.0], "rising"), ([5.0, 5.0, 5.0], "flat"), ([3.0, 2.0, 1.0], "falling")],
)
def test_direction_is_said_in_a_word(prices, direction):
    assert price_trend([1, 2, 3], prices).direction == direction


def test_points_of_the_same_day_are_not_compared():
    assert price_trend([1, 1, 2], [4.0, 4.0, 5.0]).slope_per_day == 1.0
