import asyncio


async def test_every_answer_is_documented(client):
    paths = (await client.get("/openapi.json")).json()["paths"]
    operations = {
        (method, path): operation
        for path, item in paths.items()
        for method, operation in item.items()
    }
    assert len(operations) == 15
    for operation in operations.values():
        assert "application/problem+json" in operation["responses"]["default"]["content"]
    documented = {key: set(operation["responses"]) for key, operation in operations.items()}
    assert documented["put", "/products/{product_id}"] == {"200", "201", "409", "default"}
    assert documented["get", "/products/{product_id}"] == {"200", "404", "default"}
    assert documented["post", "/users"] == {"201", "409", "default"}
    assert documented["delete", "/sessions"] == {"204", "401", "default"}
    assert set(operations["get", "/products/export.csv"]["responses"]["200"]["content"]) == {
        "text/csv"
    }


async def test_the_documented_limit_of_ids_is_the_one_that_holds(client):
    paths = (await client.get("/openapi.json")).json()["paths"]
    [parameter] = paths["/products/{product_id}"]["get"]["parameters"]
    last = int(parameter["schema"]["maximum"])
    assert (await client.get(f"/products/{last}")).status_code == 404
    assert (await client.get(f"/products/{last + 1}")).status_code == 422


async def test_a_busy_database_is_a_503_problem(app, client, monkeypatch):
    pool = app.state.users._database.engine.sync_engine.pool
    monkeypatch.setattr(pool, "_timeout", 0.01)
    engine = app.state.users._database.engine
    connections = [await engine.connect() for _ in range(pool.size())]
    try:
        async with asyncio.timeout(2):
            responses = [await client.get(path) for path in ("/products/1", "/overview")]
    finally:
        for connection in connections:
            await connection.close()
    for response in responses:
        assert response.status_code == 503
        assert response.headers["content-type"] == "application/problem+json"
        assert int(response.headers["retry-after"]) >= 1
