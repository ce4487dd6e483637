"""A Flask application with SQLAlchemy, PyMySQL and Redis that knows nothing of greenserve, under the command."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.e2e.server_process import ServerProcess

APP = """
import os
import redis
from flask import Flask
from sqlalchemy import create_engine, text

app = Flask(__name__)
pool = {"pool_size": 50, "max_overflow": 50, "pool_timeout": 30}
engines = {
    "psycopg": create_engine(os.environ["POSTGRESQL"].replace("postgresql:", "postgresql+psycopg:"), **pool),
    "psycopg2": create_engine(os.environ["POSTGRESQL"].replace("postgresql:", "postgresql+psycopg2:"), **pool),
    "pymysql": create_engine(os.environ["MARIADB"].replace("mysql:", "mysql+pymysql:"), **pool),
}
cache = redis.Redis.from_url(os.environ["REDIS"], max_connections=200)

@app.get("/<driver>/<int:n>")
def answer(driver, n):
    if driver == "redis":
        assert cache.blpop(f"nothing:{n}", timeout=0.1) is None
        return str(n)
    query = "SELECT :n + SLEEP(0.1)" if driver == "pymysql" else "SELECT CAST(:n AS int) FROM pg_sleep(0.1)"
    with engines[driver].connect() as connection:
        return str(connection.execute(text(query), {"n": n}).scalar())
"""
COUNT = 200


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, postgresql: str, mariadb: str, redis: str
) -> Iterator[ServerProcess]:
    directory: Path = tmp_path_factory.mktemp("application")
    (directory / "shop.py").write_text(APP)
    env: dict[str, str | None] = {"POSTGRESQL": postgresql, "MARIADB": mariadb, "REDIS": redis}
    with ServerProcess("shop:app", cwd=directory, env=env) as process:
        yield process
    assert process.returncode == 0
    assert "Traceback" not in process.output


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2", "pymysql", "redis"])
def test_two_hundred_requests_wait_for_the_database_together(server: ServerProcess, driver: str) -> None:
    def fetch(n: int) -> int:
        answer = requests.get(f"{server.url}/{driver}/{n}", timeout=30)
        assert answer.status_code == 200, answer.text
        return int(float(answer.text))

    begun = time.monotonic()
    with ThreadPoolExecutor(COUNT) as pool:
        results = list(pool.map(fetch, range(COUNT)))
    assert results == list(range(COUNT))
    assert time.monotonic() - begun < COUNT * 0.1 / 2
