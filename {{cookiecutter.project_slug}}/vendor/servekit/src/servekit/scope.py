"""The name under which the scope of a request holds its service."""

SCOPE_KEY = "servekit.service"
