"""What the OpenAPI document says of errors, where the answers are problem documents."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import (
    validation_error_definition,
    validation_error_response_definition,
)
from starlette.applications import Starlette

from servekit.problems import MEDIA_TYPE

JSON = "application/json"
BAD_INPUT: dict[str, Any] = {"$ref": "#/components/schemas/HTTPValidationError"}
SCHEMAS = {
    "HTTPValidationError": validation_error_response_definition,
    "ValidationError": validation_error_definition,
}


def documenting(
    app: Starlette, describe: Callable[[], dict[str, Any]], ours: object
) -> Callable[[], dict[str, Any]]:
    """Return an application's `openapi`, true of its 422 while `ours` is the handler of those."""

    def openapi() -> dict[str, Any]:
        document = describe()
        if app.exception_handlers.get(RequestValidationError) is ours:
            document_bad_input(document)
        return document

    return openapi


def document_bad_input(document: dict[str, Any]) -> None:
    """Name our media type for FastAPI's 422, and have one beside a `default` that is a problem.

    FastAPI leaves it out there, and clients made from the document would not know its list.
    """
    for operation in operations(document):
        responses = operation.get("responses", {})
        takes_input = "parameters" in operation or "requestBody" in operation
        takes_input &= "4XX" not in responses
        if takes_input and MEDIA_TYPE in responses.get("default", {}).get("content", {}):
            content = {JSON: {"schema": BAD_INPUT}}
            added = {"description": "Validation Error", "content": content}
            if responses.setdefault("422", added) is added:
                schemas = document.setdefault("components", {}).setdefault("schemas", {})
                document["components"]["schemas"] = SCHEMAS | schemas
        content = responses.get("422", {}).get("content", {})
        if content.get(JSON, {}).get("schema") == BAD_INPUT:
            content[MEDIA_TYPE] = content.pop(JSON)


def operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what a document says of each method of each path."""
    for path in document.get("paths", {}).values():
        for operation in path.values():
            if isinstance(operation, dict):
                yield operation
