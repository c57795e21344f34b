"""The problems that a route answers, for its OpenAPI document."""

from __future__ import annotations

from typing import Any

from service.middleware.exception_handlers import problem_responses


def problems(descriptions: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    """Return `responses=` for statuses that are problem documents."""
    any_problem = problem_responses()["default"]
    return {status: any_problem | {"description": text} for status, text in descriptions.items()}
