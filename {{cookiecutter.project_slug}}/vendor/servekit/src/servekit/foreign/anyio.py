"""What anyio imports when it is first needed, which in a worker is in the middle of a request."""

LAZY = ("anyio._backends._asyncio", "anyio._core._fileio")
"""For `def` routes, `BaseHTTPMiddleware`, streamed answers and files."""
