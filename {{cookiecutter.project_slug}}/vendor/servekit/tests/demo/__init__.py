"""A small service in plain FastAPI, for tests that run one: `python -m demo` where it lies."""
