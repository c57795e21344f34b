import csv
import io
from typing import Any

from tests.bad_input import bad_fields

CHAIR = {"name": "Chair", "price": 9.5, "tags": ["oak"], "description": "sits"}
HEADER = "id,name,price,tags,description\n"


async def put(client, number, **fields):
    return await client.put(f"/products/{number}", json=CHAIR | fields)


def problem(response):
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == response.status_code
    return body


async def test_a_product_is_created_replaced_and_read(client):
    assert (await put(client, 1)).status_code == 201
    replaced = await put(client, 1, price=12)
    assert replaced.status_code == 200
    read = await client.get("/products/1")
    assert read.json() == replaced.json() == CHAIR | {"id": 1, "price": 12.0}


async def test_who_is_not_logged_in_writes_nothing_and_sends_no_file(new_client):
    asked = []

    async def file():
        asked.append(True)
        yield HEADER.encode()

    visitor = new_client()
    assert problem(await put(visitor, 1))["status"] == 401
    assert problem(await visitor.post("/products/import", content=file()))["status"] == 401
    assert not asked
    assert (await visitor.get("/products/1")).status_code == 404


async def test_a_body_may_name_the_id_of_its_path_and_no_other(client):
    assert (await put(client, 1, id=1)).status_code == 201
    assert problem(await put(client, 1, id=2))["status"] == 409


async def test_a_whole_number_is_an_id_however_json_spells_it_and_text_is_none(client):
    assert (await put(client, 1, id=1.0)).status_code == 201
    for wrong in (1.5, "1", True):
        assert (await put(client, 1, id=wrong)).status_code == 422, wrong


async def test_the_names_beside_the_ids_are_no_ids(client):
    for method, path, allowed in (
        ("GET", "/products/import", "POST"),
        ("PUT", "/products/import", "POST"),
        ("PUT", "/products/export.csv", "GET"),
    ):
        response = await client.request(method, path, json=CHAIR)
        assert problem(response)["status"] == 405
        assert response.headers["allow"] == allowed


async def test_an_unknown_product_is_a_404_problem_until_it_is_written(client):
    assert problem(await client.get("/products/9"))["status"] == 404
    await put(client, 9)
    assert (await client.get("/products/9")).status_code == 200


async def test_an_id_out_of_range_is_a_422_problem(client):
    for number in ("0", "-1", "9223372036854775808", "x", "1.5"):
        for method in ("GET", "PUT"):
            response = await client.request(method, f"/products/{number}", json=CHAIR)
            assert bad_fields(response) == ["path.product_id"], number


BAD_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "body.name"),
    ({"name": "n" * 201}, "body.name"),
    ({"name": "a\x00b"}, "body.name"),
    ({"name": 5}, "body.name"),
    ({"price": -0.01}, "body.price"),
    ({"price": "9.5"}, "body.price"),
    ({"price": 1e13}, "body.price"),
    ({"price": None}, "body.price"),
    ({"tags": ["a;b"]}, "body.tags.0"),
    ({"tags": [""]}, "body.tags.0"),
    ({"tags": ["t"] * 21}, "body.tags"),
    ({"description": "d" * 4001}, "body.description"),
    ({"id": 0}, "body.id"),
    ({"colour": "red"}, "body.colour"),
]


async def test_a_bad_field_is_named(client):
    for fields, field in BAD_FIELDS:
        response = await put(client, 1, **fields)
        assert bad_fields(response) == [field], fields


async def test_a_price_that_is_no_number_is_refused(client):
    for price in ("NaN", "Infinity", "1e999"):
        body = f'{{"name": "a", "price": {price}}}'
        headers = {"content-type": "application/json"}
        response = await client.put("/products/1", content=body, headers=headers)
        assert bad_fields(response) == ["body.price"], price


async def test_the_list_is_cached_validated_and_renewed_by_a_write(client):
    await put(client, 1)
    first = await client.get("/products")
    assert first.json()["total"] == 1
    again = await client.get("/products", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    await put(client, 2)
    renewed = await client.get("/products", headers={"if-none-match": first.headers["etag"]})
    assert renewed.status_code == 200
    assert [item["id"] for item in renewed.json()["items"]] == [1, 2]


async def test_the_list_is_searched_by_name(client):
    await put(client, 1)
    await put(client, 2, name="Lamp")
    found = await client.get("/products", params={"q": "lam"})
    assert [item["id"] for item in found.json()["items"]] == [2]


async def test_a_bad_query_is_named(client):
    for query, field in {
        "page=0": "query.page",
        "page=10001": "query.page",
        "page=x": "query.page",
        "q=%00": "query.q",
        "q=" + "q" * 101: "query.q",
    }.items():
        response = await client.get(f"/products?{query}")
        assert bad_fields(response) == [field], query


async def test_a_chunked_import_beyond_the_general_body_limit_is_taken(client):
    async def pieces():
        yield HEADER.encode()
        for start in range(1, 1401, 100):
            lines = (f"{n},name,1.5,a;b,{'d' * 1000}\n" for n in range(start, start + 100))
            yield "".join(lines).encode()

    response = await client.post("/products/import", content=pieces())
    assert response.json() == {"rows": 1400}
    assert (await client.get("/products/1400")).json()["tags"] == ["a", "b"]


async def test_an_import_renews_what_is_cached(client):
    await put(client, 1)
    await client.get("/products")
    await client.post("/products/import", content=HEADER + "1,new,1,,\n2,b,1,,\n")
    assert (await client.get("/products/1")).json()["name"] == "new"
    assert (await client.get("/products")).json()["total"] == 2


async def test_an_import_with_bad_rows_names_them_and_writes_nothing(client):
    rows = "1,good,1,,\n2,bad,free,,\n" + "x,a,1,,\n" * 150
    response = await client.post("/products/import", content=HEADER + rows)
    assert response.status_code == 422
    body = problem(response)
    assert body["error_count"] == 151
    assert len(body["errors"]) == 100
    assert {key: body["errors"][0][key] for key in ("row", "field")} == {"row": 2, "field": "price"}
    assert (await client.get("/products/1")).status_code == 404


async def test_an_export_holds_what_was_written_and_can_be_imported(client):
    await put(client, 2, name='a "b", c', tags=["x", "y"], description="two\nlines")
    await put(client, 1)
    exported = await client.get("/products/export.csv")
    assert exported.headers["content-type"] == "text/csv; charset=utf-8"
    assert "products.csv" in exported.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(exported.text, newline="")))
    assert [row["id"] for row in rows] == ["1", "2"]
    assert rows[1]["tags"] == "x;y"
    imported = await client.post("/products/import", content=exported.content)
    assert imported.json() == {"rows": 2}


async def test_an_empty_catalogue_exports_its_header(client):
    assert (await client.get("/products/export.csv")).text == HEADER.replace("\n", "\r\n")
