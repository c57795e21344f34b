"""Speed and cost, beside bare FastAPI: each module is a program."""
