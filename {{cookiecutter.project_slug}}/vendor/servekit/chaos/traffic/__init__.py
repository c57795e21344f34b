"""Clients: polite, rude, many, and with a cookie."""
