"""Database drivers in programs that know nothing of greenserve: a query that waits stops nobody else.

Each makes a hundred queries that take a tenth of a second in the server. One after the other they take ten seconds; the
bound is half of that, so that no busy machine can fail a driver that is concurrent.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.drivers.conftest import Program

COUNT = 100
SERIAL = COUNT * 0.4  # seconds: if each of them held up all others. A busy machine takes a quarter of it to connect

PSYCOPG2 = """
import psycopg2
def query(n):
    connection = psycopg2.connect(URL)
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s FROM pg_sleep(0.4)", (n,))
        answer = cursor.fetchone()[0]
    connection.close()
    return answer
at_once(100, query)
"""
PSYCOPG = """
import psycopg
def query(n):
    with psycopg.connect(URL) as connection:
        return connection.execute("SELECT %s::int FROM pg_sleep(0.4)", (n,)).fetchone()[0]
at_once(100, query)
"""
PSYCOPG_POOL = """
from psycopg_pool import ConnectionPool
with ConnectionPool(URL, min_size=4, max_size=50, timeout=20) as pool:
    def query(n):
        with pool.connection() as connection:
            return connection.execute("SELECT %s::int FROM pg_sleep(0.4)", (n,)).fetchone()[0]
    at_once(100, query)
"""
PYMYSQL = """
from urllib.parse import urlsplit
import pymysql
where = urlsplit(URL)
def query(n):
    connection = pymysql.connect(host=where.hostname, port=where.port, user=where.username)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT %s, SLEEP(0.4)", (n,))
        return int(cursor.fetchone()[0])
at_once(100, query)
"""
REDIS = """
import redis
client = redis.Redis.from_url(URL)
def query(n):
    assert client.blpop(f"nothing:{n}", timeout=0.4) is None
    client.set(f"something:{n}", n)
    return int(client.get(f"something:{n}"))
at_once(100, query)
"""
SQLALCHEMY = """
from sqlalchemy import create_engine, text
engine = create_engine(sys.argv[2], pool_size=25, max_overflow=25, pool_timeout=20)
def query(n):
    with engine.connect() as connection:
        return int(connection.execute(text(sys.argv[3]), {"n": n}).scalar())
at_once(100, query)
engine.dispose()
"""
PG_SLEEP = "SELECT CAST(:n AS int) FROM pg_sleep(0.4)"


# What psycopg has imported by name stays real, and the patch says so.
LATE = """
import psycopg2.extensions, psycopg.waiting
import greenserve, warnings
with warnings.catch_warnings(record=True, action="always") as said:
    greenserve.monkey_patch(WHICH)
assert all("psycopg" in str(each.message) for each in said)
"""


def all_at_once(said: dict[str, Any]) -> None:
    assert said["results"] == list(range(COUNT))
    assert said["seconds"] < SERIAL / 2


@pytest.mark.parametrize("text", [PSYCOPG2, PSYCOPG, PSYCOPG_POOL], ids=["psycopg2", "psycopg", "psycopg_pool"])
def test_queries_to_postgresql_wait_together(postgresql: str, program: Program, text: str) -> None:
    all_at_once(program(text, postgresql))


def test_queries_to_mariadb_wait_together(mariadb: str, program: Program) -> None:
    all_at_once(program(PYMYSQL, mariadb))


def test_commands_to_redis_wait_together(redis: str, program: Program) -> None:
    all_at_once(program(REDIS, redis))


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_sqlalchemys_pool_on_postgresql(postgresql: str, program: Program, driver: str) -> None:
    url = postgresql.replace("postgresql:", f"postgresql+{driver}:")
    all_at_once(program(SQLALCHEMY, postgresql, url, PG_SLEEP))


def test_sqlalchemys_pool_on_mariadb(mariadb: str, program: Program) -> None:
    url = mariadb.replace("mysql:", "mysql+pymysql:")
    all_at_once(program(SQLALCHEMY, mariadb, url, "SELECT :n + SLEEP(0.4)"))


def test_a_timeout_ends_a_query_and_its_connection_and_nobody_elses(postgresql: str, program: Program) -> None:
    text = """
    import greenserve, psycopg, psycopg2
    def late(module):
        connection = module.connect(URL)
        cursor = connection.cursor()
        try:
            with greenserve.Timeout(0.2):
                cursor.execute("SELECT pg_sleep(60)")
        except greenserve.Timeout:
            return bool(connection.closed)
    def quick(n):
        connection = psycopg2.connect(URL)
        cursor = connection.cursor()
        for _ in range(5):
            cursor.execute("SELECT pg_sleep(0.1)")
        connection.close()
        return "answered"
    at_once(2, lambda n: late(psycopg2) if n else quick(n))
    """
    said = program(text, postgresql)
    assert said["results"] == ["answered", True]
    assert said["seconds"] < 30


def test_a_killed_thread_leaves_its_query(postgresql: str, program: Program) -> None:
    text = """
    import greenserve, psycopg, psycopg2
    ended = []
    def wait(module):
        connection = module.connect(URL)
        begun.append(module)
        try:
            connection.cursor().execute("SELECT pg_sleep(60)")
        finally:
            ended.append(module.__name__)
            connection.close()
    begun = []
    threads = [greenserve.spawn(wait, module) for module in (psycopg2, psycopg)]
    while len(begun) < 2:
        time.sleep(0.01)
    for thread in threads:
        thread.kill()
    greenserve.joinall(threads, timeout=30)
    print(json.dumps({"ended": sorted(ended)}))
    """
    assert program(text, postgresql)["ended"] == ["psycopg", "psycopg2"]


def test_a_lost_server_is_an_error_of_the_query(postgresql: str, program: Program) -> None:
    text = """
    import psycopg2
    victim, killer = psycopg2.connect(URL), psycopg2.connect(URL)
    killer.autocommit = True
    def run(n):
        if n:
            time.sleep(0.3)
            killer.cursor().execute("SELECT pg_terminate_backend(%s)", (victim.info.backend_pid,))
            return "killed"
        try:
            victim.cursor().execute("SELECT pg_sleep(60)")
        except psycopg2.OperationalError as error:
            return str(error).splitlines()[0]
    at_once(2, run)
    """
    first, second = program(text, postgresql)["results"]
    assert "terminating connection" in first
    assert second == "killed"


def test_a_driver_that_was_imported_before_the_patch_is_adapted_too(postgresql: str, program: Program) -> None:
    text = LATE + "assert psycopg.waiting.wait is psycopg.waiting.wait_poll\n" + PSYCOPG2
    all_at_once(program(text.replace("WHICH", ""), postgresql, patched=False))


def test_an_unpatched_program_has_the_drivers_as_they_are(program: Program) -> None:
    text = (
        LATE.replace("WHICH", "psycopg=False")
        + """
assert not greenserve.is_monkey_patched("psycopg")
adapted = psycopg.waiting.wait is psycopg.waiting.wait_poll
print(json.dumps({"callback": psycopg2.extensions.get_wait_callback(), "adapted": adapted}))
"""
    )
    assert program(text, "", patched=False) == {"callback": None, "adapted": False}
