import servekit


class Settings(servekit.Settings):
    greeting: str = "hello"
    """What `GET /` answers."""

    greeting_length: int = 80
    """Longest greeting, in characters."""
