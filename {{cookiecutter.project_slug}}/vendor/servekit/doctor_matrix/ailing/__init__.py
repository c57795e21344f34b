"""The applications, by what they ail from."""

from doctor_matrix.ailing import database, growth, host, loop, traffic, waits, well

__all__ = ["database", "growth", "host", "loop", "traffic", "waits", "well"]
