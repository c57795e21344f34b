import asyncio
from pathlib import Path

from tests.processes.running import Service, eventually


async def test_a_read_ends_with_its_client_and_a_write_is_finished(tmp_path: Path):
    ends = tmp_path / "ends"
    environment = {"ENDS_FILE": str(ends)}
    async with Service(environment=environment, workers=1) as starting:
        service = await starting.started()
        async with service.connection() as read, service.connection() as write:
            read.send(b"GET /note/10 HTTP/1.1\r\nHost: a\r\n\r\n")
            write.send(b"POST /note/3 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            await asyncio.sleep(0.3)  # both are under way
        await eventually(lambda: ends.exists() and ends.read_text() == "GET cancelled\n", 2)
        await eventually(lambda: ends.read_text().endswith("POST finished\n"), 5)
    assert service.other_output == []
    assert [record for record in service.log if record["level"] == "error"] == []


async def test_an_answer_that_is_complete_leaves_its_background_work_alone(tmp_path: Path):
    ends = tmp_path / "ends"
    async with Service(environment={"ENDS_FILE": str(ends)}, workers=1) as starting:
        service = await starting.started()
        async with service.connection() as connection:
            connection.ask("/after/0.5")
            await connection.answer()
        await eventually(ends.exists, 5)
        assert ends.read_text() == "GET finished\n"
