"""Python sources as trees."""

import ast
import gc


def parse(source: str | bytes, name: str = "<unknown>") -> ast.Module:
    """Parse a source, and collect nothing meanwhile.

    An error that a collection brings to the log is formatted by a parser too, and Python 3.11 fails
    where one parses within the other.
    """
    gc.disable()
    try:
        return ast.parse(source, name)
    finally:
        gc.enable()
