"""The compose file of a fresh clone, run by a real Docker engine under a project's name of its own."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Self

from tests.support.paths import ROOT
from trainshed import Client
from trainshed.local import ports

PASSWORD = "p@ss:w/rd %40 #x"
"""A password that a URL can hold only percent-encoded."""


class Composed:
    """`docker compose` in a fresh clone of this checkout; what it has made is deleted at the end."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder, self.project = folder / "clone", f"trainshed-{os.getpid()}"
        self.key, self.read_key = "the key of an administrator", "the key of Prometheus"
        self.port = ports.find_free("127.0.0.1")
        self._variables = variables

    def __enter__(self) -> Self:
        subprocess.run(["git", "clone", "-q", ROOT, self.folder], check=True)
        values = {
            "POSTGRES_PASSWORD": PASSWORD,
            "REDIS_PASSWORD": "5e1f",
            "TRAINSHED_API_KEYS": self.key,
            "TRAINSHED_READ_KEYS": self.read_key,
            "PUBLISH": f"127.0.0.1:{self.port}",
            **self._variables,
        }
        text = "".join(f"{name}={_quoted(value)}\n" for name, value in values.items())
        (self.folder / ".env").write_text(text)
        return self

    def __exit__(self, *_: object) -> None:
        self.run("--profile", "*", "down", "-v", "-t", "5")

    @property
    def url(self) -> str:
        """The address of the API, or of the first of several."""
        return f"http://127.0.0.1:{self.port}"

    def client(self, **options: Any) -> Client:
        """Return a client of the API, with the administrator's key."""
        return Client(self.url, api_key=self.key, **options)

    def run(self, *arguments: str, timeout: float = 900, code: int = 0) -> str:
        """Run `docker compose`, and return what it writes to stdout; to stderr if it is to fail."""
        # the engine's own variables only: no TRAINSHED_ setting of the caller's may get in
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TRAINSHED_")}
        ended = subprocess.run(
            ["docker", "compose", "-p", self.project, *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert ended.returncode == code, ended.stderr[-3000:]
        return ended.stdout if code == 0 else ended.stderr

    def up(self, *arguments: str) -> None:
        """Start what does not run yet, and wait until it is healthy."""
        self.run("up", "-d", "--wait", *arguments)

    def containers(self, service: str) -> list[str]:
        """Return the ids of a service's containers, those that have ended too."""
        return self.run("ps", "-aq", service).split()

    def sql(self, query: str) -> str:
        """Return what the application's role reads from the database, by TCP and with its password."""
        url = "postgresql://trainshed@127.0.0.1/trainshed"
        password = f"PGPASSWORD={PASSWORD}"
        return self.run("exec", "-T", "-e", password, "postgres", "psql", "-tA", url, "-c", query).strip()


def docker(*arguments: str, timeout: float = 600) -> str:
    """Run `docker`, and return what it writes to stdout."""
    ended = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=timeout)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout.strip()


def inspected(name: str) -> dict[str, Any]:
    """Return what Docker says about a container or an image."""
    [document] = json.loads(docker("inspect", name))
    return dict(document)


def has_image(name: str) -> bool:
    """Return whether the engine has an image, or can pull it."""
    commands = (["docker", "image", "inspect", name], ["docker", "pull", "-q", name])
    return any(subprocess.run(command, capture_output=True).returncode == 0 for command in commands)


def _quoted(value: str) -> str:
    return f"'{value}'"
