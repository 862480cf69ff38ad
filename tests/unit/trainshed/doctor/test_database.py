"""A database that is away, not migrated, not durable, full, or on a network file system is named."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from shared.db import clock
from shared.db.engine import Database
from shared.settings import Settings
from tests.support.databases import open_database, other_schema, raised_floor
from tests.support.injected_errors import injected
from tests.support.ports import closed_port
from tests.support.servers import PostgresServer, running_postgres
from tests.unit.trainshed.doctor.conftest import Found
from trainshed.doctor import database as database_check


def connect(settings: Settings) -> psycopg.Connection[Any]:
    """A connection of another program."""
    url = settings.database_url.replace("postgresql+psycopg", "postgresql")
    return psycopg.connect(url, password=settings.database_password.get_secret_value() or None)


def at(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"database_url": url})


def test_a_good_database_is_good(settings: Settings, found: Found, sqlite_url: str) -> None:
    [(severity, message, _)] = found(database_check.check, at(settings, sqlite_url))
    assert severity == "ok"
    assert "answers: sqlite 3." in message


def test_a_good_postgresql_is_good(settings: Settings, found: Found) -> None:
    with running_postgres("-c", "fsync=on") as server:
        server.execute("CREATE DATABASE good")
        url = server.url("good")
        with open_database(url) as database:
            database.migrate()
        [(severity, message, _)] = found(database_check.check, at(settings, url))
    assert severity == "ok"
    assert "answers: postgresql " in message


def test_no_database_at_all(settings: Settings, found: Found) -> None:
    with closed_port() as port:
        url = f"postgresql+psycopg://someone:hunter2@127.0.0.1:{port}/jobs"
        [(severity, message, advice)] = found(database_check.check, at(settings, url))
    assert severity == "error"
    assert message.startswith("127.0.0.1/jobs does not answer: ")
    assert "TRAINSHED_DATABASE_URL" in advice
    assert "hunter2" not in message


@pytest.mark.parametrize("url", ["mysql://host/db", "nonsense"])
def test_a_url_of_no_database(settings: Settings, found: Found, url: str) -> None:
    [(severity, _, advice)] = found(database_check.check, at(settings, url))
    assert (severity, advice) == ("error", "correct TRAINSHED_DATABASE_URL")


def test_a_file_that_is_missing_is_not_created(settings: Settings, found: Found, tmp_path: Path) -> None:
    file = tmp_path / "missing.db"
    [(severity, message, advice)] = found(database_check.check, at(settings, f"sqlite:///{file}"))
    assert (severity, message) == ("error", f"there is no file {file}")
    assert "trainshed migrate" in advice
    assert not file.exists()


def test_a_schema_that_is_missing(settings: Settings, found: Found, tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    *_, (severity, _, advice) = found(database_check.check, at(settings, f"sqlite:///{tmp_path}/empty.db"))
    assert (severity, advice) == ("error", "run `trainshed migrate`")


@pytest.mark.parametrize(
    ("version", "advice"),
    [
        ("0020", "install 0.1.0 and migrate first"),
        ("0021", "run `trainshed migrate`"),
        ("0027+", "run `trainshed migrate` again"),
    ],
)
def test_a_schema_of_0_1_0_or_before_or_half_moved(
    settings: Settings, found: Found, database: Database, database_url: str, version: str, advice: str
) -> None:
    with other_schema(database, version):
        findings = found(database_check.check, at(settings, database_url))
    assert findings[-1] == ("error", "it has no schema, or that of another version", advice)


def test_a_database_that_needs_a_newer_version(settings: Settings, found: Found, sqlite_url: str) -> None:
    with open_database(sqlite_url) as database, raised_floor(database, "2.10.0"):
        *_, (severity, message, advice) = found(database_check.check, at(settings, sqlite_url))
    assert (severity, advice) == ("error", "install that")
    assert message.startswith("the database needs Trainshed 2.10.0 or later, and this is ")


@pytest.mark.parametrize(("kind", "is_found"), [("nfs4", True), ("fuse.sshfs", True), ("ext4", False)])
def test_a_file_on_a_network_file_system(
    settings: Settings,
    found: Found,
    sqlite_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    is_found: bool,
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        f"/dev/vda / ext4 rw 0 0\nhost:/data {tmp_path} {kind} rw 0 0\n/dev/vdb /x nfs rw 0 0\n"
    )
    monkeypatch.setattr(database_check, "_MOUNTS", mounts)
    messages = [
        message
        for severity, message, _ in found(database_check.check, at(settings, sqlite_url))
        if severity == "error"
    ]
    assert [f"network file system ({kind})" in message for message in messages] == [True] * is_found


def test_this_hosts_file_systems_are_known() -> None:
    assert database_check.file_system(Path("/proc/self")) == "proc"


def test_a_file_system_whose_mount_is_not_listed_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("proc /proc proc rw 0 0\n")  # as in a chroot
    monkeypatch.setattr(database_check, "_MOUNTS", mounts)
    assert database_check.file_system(tmp_path) == ""


def test_a_database_that_may_lose_commits(settings: Settings, found: Found, postgresql_url: str) -> None:
    # as the tests' own server is, which nobody needs after a crash
    errors = [
        each for each in found(database_check.check, at(settings, postgresql_url)) if each[0] == "error"
    ]
    assert [message for _, message, _ in errors] == [
        "`fsync` is off: jobs that were accepted may be lost in a crash",
        *(
            f"`{name}` is off: jobs that were accepted may be lost in a crash"
            for name in ("synchronous_commit", "full_page_writes")
            if _is_off(postgresql_url, name)
        ),
    ]


def _is_off(url: str, name: str) -> bool:
    with open_database(url) as database:
        return bool(database.read(lambda session: session.scalar(text(f"SHOW {name}"))) == "off")


@pytest.fixture(scope="module")
def small_server() -> Iterator[PostgresServer]:
    """A PostgreSQL of eight connections, with a role that has a password and is no superuser."""
    with running_postgres("-c", "max_connections=8") as server:
        server.execute("CREATE ROLE someone LOGIN PASSWORD 'right'")
        server.execute("CREATE DATABASE jobs OWNER someone")
        server.require_passwords()
        yield server


def as_someone(settings: Settings, server: PostgresServer, **changed: str) -> Settings:
    url = server.url(changed.get("database", "jobs")).replace(
        "postgres@", f"{changed.get('role', 'someone')}@"
    )
    return at(settings, url).model_copy(
        update={"database_password": SecretStr(changed.get("password", "right"))}
    )


@pytest.mark.parametrize(
    ("changed", "found_as", "advice_is"),
    [
        ({"password": "wrong"}, "refuses the password: ", "TRAINSHED_DATABASE_PASSWORD"),
        ({"database": "other"}, "refuses the connection: ", "create the database"),
    ],
)
def test_what_refuses_the_connection_is_told_apart(
    settings: Settings,
    found: Found,
    small_server: PostgresServer,
    changed: dict[str, str],
    found_as: str,
    advice_is: str,
) -> None:
    [(severity, message, advice)] = found(database_check.check, as_someone(settings, small_server, **changed))
    assert severity == "error"
    assert found_as in message
    assert advice_is in advice


def test_no_connection_is_left(settings: Settings, found: Found, small_server: PostgresServer) -> None:
    configured = as_someone(settings, small_server)
    with ExitStack() as stack:
        with pytest.raises(psycopg.OperationalError):  # noqa: PT012 (until there is none)
            while True:
                stack.enter_context(connect(configured))
        [(severity, message, advice)] = found(database_check.check, configured)
    assert severity == "error"
    assert "jobs cannot be used, since all connections to the database are used: " in message
    assert "`max_connections`" in advice


def test_connections_of_other_roles_count(
    settings: Settings, found: Found, small_server: PostgresServer
) -> None:
    configured = as_someone(settings, small_server)
    with connect(at(settings, small_server.url())), connect(configured):
        messages = [message for _, message, _ in found(database_check.check, configured)]
    assert any(message.startswith("3 of 5 connections are used") for message in messages), messages


def test_a_full_disk(settings: Settings, found: Found, postgresql_url: str) -> None:
    with injected("53100", "generate_series"):
        *_, (severity, message, advice) = found(database_check.check, at(settings, postgresql_url))
    assert severity == "error"
    assert "cannot be used, since the disk of the database is full" in message
    assert advice == "free space on it, or enlarge it"


def test_a_full_disk_of_a_file(
    settings: Settings, found: Found, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_check, "NEEDED_BYTES", 2**62)
    (severity, message, advice), *_ = found(database_check.check, at(settings, sqlite_url))
    assert severity == "error"
    assert "MB are free beside " in message
    assert advice == "free space there, or enlarge the disk"


def test_few_connections_are_left(settings: Settings, found: Found) -> None:
    with running_postgres("-c", "fsync=on", "-c", "max_connections=12") as server, ExitStack() as stack:
        with open_database(server.url()) as database:
            database.migrate()
        plain = server.url().replace("postgresql+psycopg", "postgresql")
        stack.enter_context(psycopg.connect(plain))
        warnings = [
            each for each in found(database_check.check, at(settings, server.url())) if each[0] != "ok"
        ]
    [(severity, message, advice)] = warnings
    assert severity == "warning"
    assert message.startswith("2 of 9 connections are used")
    assert "max_connections" in advice


def test_a_standby(settings: Settings, found: Found) -> None:
    with running_postgres("-c", "fsync=on") as server:
        with open_database(server.url()) as database:
            database.migrate()
        server.demote()
        errors = [
            each for each in found(database_check.check, at(settings, server.url())) if each[0] == "error"
        ]
    assert errors[-1][1] == "it is a read-only standby"


def test_a_clock_that_is_wrong(
    settings: Settings, found: Found, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for ahead_s in (120.0, -120.0):
        monkeypatch.setattr(database_check, "database_now", lambda s=ahead_s: clock.database_now(s))
        *_, (severity, message, advice) = found(database_check.check, at(settings, sqlite_url))
        assert (severity, advice) == ("warning", "run NTP on both hosts")
        assert "differ by 1" in message
