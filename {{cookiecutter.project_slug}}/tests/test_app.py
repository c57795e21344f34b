import httpx2

ADA = {"username": "ada", "password": "correct horse"}


async def test_the_index_says_who_answers(app, client):
    assert (await client.get("/")).json() == {"name": app.title, "version": app.version}


async def test_an_answer_to_nobodys_question_is_a_problem_document(client):
    answer = await client.get("/nowhere")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_every_operation_documents_its_errors(app):
    for path, item in app.openapi()["paths"].items():
        for method, operation in item.items():
            errors = operation["responses"]["default"]["content"]
            assert "application/problem+json" in errors, (method, path)


def test_it_runs_with_workers_and_stops_when_asked(start_service):
    service = start_service(WORKERS=2)
    with httpx2.Client(base_url=service.url) as client:
        assert client.post("/users", json=ADA).status_code == 201
        assert client.post("/session", json=ADA).status_code == 200
        assert client.get("/session").json()["username"] == "ada"
    wrong = ADA | {"password": "wrong"}
    # Each on a connection of its own: whichever worker takes it, they count together.
    with httpx2.Client(base_url=service.url, headers={"connection": "close"}) as client:
        answers = [client.post("/session", json=wrong).status_code for _ in range(7)]
    assert answers == [401] * 5 + [429] * 2
    assert service.stop() == 0
