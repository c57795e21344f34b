import textwrap

pytest_plugins = ["pytester"]

SUITE = """
    import asyncio, sqlite3, time
    import pytest
    from blockbuster import BlockingError
    from fastapi import FastAPI
    from servekit import Service

    pytest_plugins = ["servekit.testing"]

    def sleep(): time.sleep(0.001)
    def ask_sqlite(): sqlite3.connect(":memory:").execute("SELECT 1")
    def read_a_file(): open(__file__).close()

    @pytest.fixture
    def app(settings, call):
        app = FastAPI()
        Service(settings).install(app)

        @app.get("/here")
        async def here() -> None:
            call()

        @app.get("/swallowed")
        async def swallowed() -> None:
            try:
                call()
            except Exception:
                pass

        @app.get("/thread")
        async def thread() -> None:
            await asyncio.to_thread(call)

        return app

    every_call = pytest.mark.parametrize("call", [sleep, ask_sqlite])

    @every_call
    @pytest.mark.parametrize("path", ["/here", "/swallowed"])
    async def test_blocks(no_blocking_calls, client, path):
        await client.get(path)

    @every_call
    async def test_calls_in_a_thread(no_blocking_calls, client):
        assert (await client.get("/thread")).status_code == 200

    @pytest.mark.parametrize("call", [read_a_file])
    async def test_reads_a_file(no_blocking_calls, client):
        assert (await client.get("/here")).status_code == 200

    @every_call
    async def test_did_not_ask(client):
        assert (await client.get("/here")).status_code == 200
"""


def test_a_test_fails_where_its_code_blocks_the_loop_whatever_catches_that(pytester):
    pytester.makepyfile(textwrap.dedent(SUITE))
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-o", "asyncio_mode=auto")
    done.assert_outcomes(passed=9, errors=4)
    done.stdout.fnmatch_lines(["Blocking call to time.sleep at *.py:* in sleep"])


async def test_the_library_never_blocks_the_loop_in_any_of_its_own_tests(request):
    assert "no_blocking_calls" in request.fixturenames
