"""Connections to Redis in every topology, with a time limit and a breaker for each command."""
