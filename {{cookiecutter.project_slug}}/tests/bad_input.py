"""What a 422 says is wrong with a request."""

import httpx2


def bad_fields(response: httpx2.Response) -> list[str]:
    """Return the places of the errors in a 422, such as `body.tags.0`."""
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    return [".".join(map(str, error["loc"])) for error in response.json()["detail"]]
