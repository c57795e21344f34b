async def test_the_index_says_who_answers(client):
    assert (await client.get("/")).json() == {"name": "catalogue", "version": "1.2.3"}


async def test_the_overview_follows_a_write(client):
    assert (await client.get("/overview")).json()["products"] == 0
    await client.put("/products/1", json={"name": "a", "price": 2, "tags": ["x"]})
    overview = (await client.get("/overview")).json()
    assert overview["products"] == 1
    assert overview["prices"] == {"lowest": 2, "mean": 2, "highest": 2}
    assert overview["top_tags"] == [{"tag": "x", "products": 1}]
    assert [item["id"] for item in overview["recent"]] == [1]


async def test_a_price_trend_is_computed_in_another_process(app, client):
    points = [{"day": day, "price": 10 + 2 * day} for day in range(50)]
    async with app.state.processes:
        response = await client.post("/reports/price-trend", json={"points": points})
    assert response.json() == {
        "direction": "rising",
        "slope_per_day": 2,
        "intercept": 10,
        "tau": 1,
        "points": 50,
    }


POINT = {"day": 1, "price": 1}


async def test_a_bad_price_history_is_a_422_problem(client):
    for points, field in (
        ([], "body.points"),
        ([POINT], "body.points"),
        ([POINT, POINT], "body.points"),
        ([POINT] * 2001, "body.points"),
        ([POINT, {"day": 2}], "body.points.1.price"),
        ([POINT, {"day": 1.5, "price": 1}], "body.points.1.day"),
        ([POINT, {"day": 2, "price": -1}], "body.points.1.price"),
    ):
        response = await client.post("/reports/price-trend", json={"points": points})
        assert response.status_code == 422, points
        assert response.json()["errors"][0]["field"] == field, points
