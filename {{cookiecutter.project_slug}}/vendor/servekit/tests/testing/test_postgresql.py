from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from servekit.sql import Database
from servekit.testing import postgresql


async def test_the_server_of_the_session_answers(postgresql_url):
    async with Database(postgresql_url) as database, database.engine.connect() as connection:
        assert (await connection.exec_driver_sql("SELECT 1")).scalar() == 1


def test_a_server_leaves_nothing_behind(postgresql_url):
    folder = postgresql.programs()
    assert folder is not None
    with postgresql.server(folder) as url:
        [home] = parse_qs(urlsplit(url).query)["host"]
        assert Path(home).is_dir()
    assert not Path(home).exists()
