"""A real PgBouncer in transaction mode, in front of a PostgreSQL of the tests."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from tests.support.servers import PostgresServer
from tests.support.waiting import wait_until
from trainshed.local.ports import find_free

_START_TIMEOUT_S = 10.0
_CONFIGURATION = """
[databases]
* = host={server}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 200
max_prepared_statements = 200
"""


def find() -> str | None:
    """Return the program's path; None where it is not installed."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


class PgBouncer:
    """A PgBouncer that tests can kill and start again.

    Attributes:
        pool_size: how many connections of the server it has at most.
    """

    def __init__(self, program: str, server: PostgresServer, folder: Path, pool_size: int) -> None:
        self.pool_size = pool_size
        self._program = program
        self._folder = folder
        self._port = find_free("127.0.0.1")
        self._process: subprocess.Popen[bytes] | None = None
        self._user = "nobody" if os.geteuid() == 0 else None  # it refuses to run as root
        values = {"server": server.socket.parent, "port": self._port, "folder": folder}
        (folder / "pgbouncer.ini").write_text(_CONFIGURATION.format(**values, pool_size=pool_size))
        (folder / "users").write_text('"postgres" ""\n')
        if self._user is not None:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, self._user)

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of a database of the server, through it."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self._port}/{database}"

    def start(self) -> None:
        with (self._folder / "pgbouncer.log").open("ab") as log:
            command = [self._program, str(self._folder / "pgbouncer.ini")]
            self._process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, cwd=self._folder, user=self._user
            )
        wait_until(self._responds, f"PgBouncer listens on port {self._port}", _START_TIMEOUT_S)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def connect(self, database: str) -> psycopg.Connection:
        """Connect to a database through it, and set nothing."""
        url = make_url(self.url(database))
        return psycopg.connect(host=url.host, port=url.port or 0, user=url.username, dbname=url.database)

    def _responds(self) -> bool:
        try:
            with self.connect("postgres") as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def running_pgbouncer(program: str, server: PostgresServer, *, pool_size: int) -> Iterator[PgBouncer]:
    """Run a PgBouncer for the length of a `with` block."""
    with tempfile.TemporaryDirectory(prefix="trainshed-") as folder:
        pgbouncer = PgBouncer(program, server, Path(folder), pool_size)
        pgbouncer.start()
        try:
            yield pgbouncer
        finally:
            pgbouncer.kill()
