"""Whole answers of routes, kept in the cache by what their key says and nothing else."""
