"""The answers that the tests try, as data."""

import json
from itertools import product

from render import ROOT

PYTHONS: list[str] = json.loads((ROOT / "cookiecutter.json").read_text())["python_version"]
"""The versions of Python to choose from, the default first."""

COMBINATIONS = [
    {"license": licence, "kubernetes": kubernetes, "github_actions": github_actions}
    for licence, kubernetes, github_actions in product(
        ("MIT", "Apache-2.0", "proprietary"), (True, False), (True, False)
    )
] + [{"python_version": version} for version in PYTHONS]

HOSTILE = {
    "quotes": """ "double" 'single' \"\"\"three\"\"\" '''three''' `back` """,
    "backslashes": r"C:\new\table \\ \" \u0041 \x41 end\\",
    "braces": "{one} ${HOME} $(id) %s <b>&amp; # : - [a, b] | > * !tag",
    "newlines": "first\nsecond\r\n\tthird: [x]\n---\n# heading",
    "emoji": "🚀 naïve 日本 \u200d zero-width",
}
"""Texts to pass on the command line, where cookiecutter renders them."""

TYPED = """{{ cookiecutter.author }} {% raw %} {# no #} #% if " ''' \\ 🚀 {{ undefined }}"""
"""A text to type at a prompt, where cookiecutter takes it as it is."""

REFUSED_SLUGS = [
    "",
    ".",
    "..",
    "../up",
    "a/b/c",
    "Upper",
    "under_score",
    "two words",
    "-leading",
    "trailing-",
    "double--hyphen",
    "3d-shop",
    "naïve",
    "shop;id",
    "$(id)",
    "line\nbreak",
    "x" * 41,
]


TAKEN_SLUGS = [
    "fastapi",
    "limits",
    "redis",
    "servekit",
    "sqlalchemy",
    "python",
    "uvicorn",
    "py-spy",
]
"""Names of what is installed beside the service."""


def name(answers: dict[str, object]) -> str:
    """Return a readable test id."""
    return ",".join(f"{question}={answer}" for question, answer in answers.items())
