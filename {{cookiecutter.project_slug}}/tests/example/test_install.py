def test_every_answer_is_documented(app):
    paths = app.openapi()["paths"]
    documented = {
        (method, path): set(operation["responses"])
        for path, item in paths.items()
        for method, operation in item.items()
    }
    assert documented["put", "/products/{product_id}"] == {
        "200",
        "201",
        "401",
        "409",
        "422",
        "default",
    }
    assert documented["get", "/products/{product_id}"] == {"200", "404", "422", "default"}
    export = paths["/products/export.csv"]["get"]["responses"]["200"]
    assert set(export["content"]) == {"text/csv"}


async def test_the_documented_limit_of_ids_is_the_one_that_holds(app, client):
    [parameter] = app.openapi()["paths"]["/products/{product_id}"]["get"]["parameters"]
    last = int(parameter["schema"]["maximum"])
    assert (await client.get(f"/products/{last}")).status_code == 404
    assert (await client.get(f"/products/{last + 1}")).status_code == 422
