"""python -m service: start the service, or talk to the one that runs."""

import sys

from servekit import main


def run() -> int:
    """Do what the command line says and return the exit code."""
    return main("service.app:create_app", settings="service.settings:Settings")


if __name__ == "__main__":
    sys.exit(run())
