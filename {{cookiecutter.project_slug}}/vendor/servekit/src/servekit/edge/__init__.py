"""A client's connection: sockets, limits, deadlines, heads and bodies, before any application."""
