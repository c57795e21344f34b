import pytest

from servekit.notation.numbers import short_number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2380, "2380"),
        (123.4, "123"),
        (99.94, "99.9"),
        (2.345, "2.35"),
        (0.00001, "0.000"),
        (0, "0"),
    ],
)
def test_a_number_is_short_and_has_no_exponent(value, text):
    assert short_number(value) == text
