from tests.bad_input import bad_fields


async def test_the_overview_follows_a_write(client):
    assert (await client.get("/overview")).json()["products"] == 0
    await client.put("/products/1", json={"name": "a", "price": 2, "tags": ["x"]})
    overview = (await client.get("/overview")).json()
    assert overview["products"] == 1
    assert overview["prices"] == {"lowest": 2, "mean": 2, "highest": 2}
    assert overview["top_tags"] == [{"tag": "x", "products": 1}]
    assert [item["id"] for item in overview["recent"]] == [1]


async def test_a_price_trend_is_computed_in_another_process(client):
    history = {"prices": [10 + 2 * day for day in range(50)]}
    response = await client.post("/reports/price-trend", json=history)
    assert response.json() == {
        "direction": "rising",
        "slope_per_day": 2,
        "intercept": 10,
        "tau": 1,
    }


async def test_a_bad_price_history_is_a_422_problem(client):
    for prices, field in (
        ([], "body.prices"),
        ([1], "body.prices"),
        ([1] * 2001, "body.prices"),
        ([1, "2"], "body.prices.1"),
        ([1, -1], "body.prices.1"),
        ([1, 1e13], "body.prices.1"),
    ):
        response = await client.post("/reports/price-trend", json={"prices": prices})
        assert bad_fields(response) == [field], prices
