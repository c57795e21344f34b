"""Numbers as people read them."""

from __future__ import annotations

THREE_DIGITS = 100


def short_number(value: float) -> str:
    """Return a number with three digits, or all before the point, and never an exponent."""
    if abs(value) >= THREE_DIGITS:
        return f"{value:.0f}"
    text = f"{value:.3g}"
    return f"{value:.3f}" if "e" in text else text
