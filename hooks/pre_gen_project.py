"""Refuse answers that no project can be made of: one line, exit 1, nothing left on disk."""

import json
import re
import sys
import unicodedata

ANSWERS = json.loads(r"""{{ cookiecutter | jsonify }}""")
SLUG = r"[a-z][a-z0-9]*(-[a-z0-9]+)*"

slug = ANSWERS["__slug_given"]
if len(slug) > 40 or not re.fullmatch(SLUG, slug):
    sys.exit(
        f"project_slug {slug!r} is refused: it needs a letter first, then lower-case letters, "
        "digits and single hyphens, 40 characters at most (for example my-service)."
    )
for question in ("project_name", "description", "author"):
    text = ANSWERS[f"__{question}"]
    if not text:
        sys.exit(f"{question} is refused: it is empty.")
    if {"Cc", "Cs"} & {unicodedata.category(character) for character in text}:
        sys.exit(f"{question} {text!r} is refused: it holds control characters.")
