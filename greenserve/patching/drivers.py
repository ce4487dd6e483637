"""Database drivers and their like: which wait greenly by themselves, which are told to, and which cannot.

A driver in Python is concurrent because the modules that it calls are. One in C makes its system calls itself: it must
offer a way to wait elsewhere, or its calls belong on an OS thread. What can be told is told when it is imported, never
before: nothing here imports a driver. `DRIVERS` is the table that `greenserve check` and docs/drivers.md show.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import Enum


class Waits(Enum):
    """How a driver waits in a patched process."""

    BY_ITSELF = "cooperates"
    TOLD = "cooperates, by an adapter"
    BRIEFLY = "blocks every green thread, briefly"
    BLOCKING = "blocks every green thread"


@dataclass(frozen=True, slots=True)
class Driver:
    """`module`: whose import shows that it is used; `package`: its name on PyPI; note: how it waits, or the remedy."""

    module: str
    package: str
    waits: Waits
    note: str


_POOL = "make its calls in greenserve.tpool.execute(function, ...), or wrap its object in greenserve.tpool.Proxy"
_SOCKETS = "it is written in Python on the standard library's sockets"

DRIVERS = (
    Driver("psycopg2", "psycopg2", Waits.TOLD, "libpq's waits go through psycopg2's wait callback"),
    Driver("psycopg", "psycopg", Waits.TOLD, "it waits by its wait_poll, in Python, in the place of the one in C"),
    Driver("pymysql", "PyMySQL", Waits.BY_ITSELF, _SOCKETS),
    Driver("pg8000", "pg8000", Waits.BY_ITSELF, _SOCKETS),
    Driver("redis", "redis", Waits.BY_ITSELF, f"{_SOCKETS}; hiredis only parses"),
    Driver("pymongo", "pymongo", Waits.BY_ITSELF, f"{_SOCKETS}; its C part only encodes"),
    Driver("pymemcache", "pymemcache", Waits.BY_ITSELF, _SOCKETS),
    Driver("pika", "pika", Waits.BY_ITSELF, f"{_SOCKETS} and select"),
    Driver("kazoo", "kazoo", Waits.BY_ITSELF, f"{_SOCKETS} and threads"),
    Driver("requests", "requests", Waits.BY_ITSELF, _SOCKETS),
    Driver("urllib3", "urllib3", Waits.BY_ITSELF, _SOCKETS),
    Driver("httpx", "httpx", Waits.BY_ITSELF, f"{_SOCKETS} (its synchronous client)"),
    Driver("MySQLdb", "mysqlclient", Waits.BLOCKING, "use PyMySQL (pymysql.install_as_MySQLdb() gives it the name)"),
    Driver("_mysql_connector", "mysql-connector-python", Waits.BLOCKING, "connect with use_pure=True, or use PyMySQL"),
    Driver("mariadb", "mariadb", Waits.BLOCKING, "use PyMySQL, which speaks to MariaDB as well"),
    Driver("grpc", "grpcio", Waits.BLOCKING, f"it waits in C, on threads of its own: {_POOL}"),
    Driver("cx_Oracle", "cx_Oracle", Waits.BLOCKING, f"use oracledb in its thin mode, or {_POOL}"),
    Driver("pyodbc", "pyodbc", Waits.BLOCKING, _POOL),
    Driver("pymssql", "pymssql", Waits.BLOCKING, f"use python-tds, or {_POOL}"),
    Driver("ibm_db", "ibm_db", Waits.BLOCKING, _POOL),
    Driver("pylibmc", "pylibmc", Waits.BLOCKING, "use pymemcache"),
    Driver("pycurl", "pycurl", Waits.BLOCKING, "use requests, urllib3 or httpx"),
    Driver("curl_cffi", "curl_cffi", Waits.BLOCKING, f"use requests, urllib3 or httpx, or {_POOL}"),
    Driver("zmq", "pyzmq", Waits.BLOCKING, _POOL),
    Driver("confluent_kafka", "confluent-kafka", Waits.BLOCKING, f"use kafka-python, or {_POOL}"),
    Driver(
        "_sqlite3", "sqlite3", Waits.BRIEFLY, f"for as long as the disk or a lock takes; where that is long: {_POOL}"
    ),
)


def imported() -> list[Driver]:
    """The drivers that this process has imported, in the order of the table."""
    return [driver for driver in DRIVERS if driver.module in sys.modules]
