"""The health of the API: liveness, readiness, version."""

from enum import StrEnum
from typing import Literal

from shared.schemas.base import Response


class Live(Response):
    """The process responds."""

    status: Literal["alive"] = "alive"


class Dependency(StrEnum):
    """A service or a state that the API uses; it needs all but Redis to serve requests."""

    DATABASE = "database"
    MIGRATIONS = "migrations"  # the database has this version's schema
    REDIS = "redis"  # without it jobs start late, or wait


class Check(Response):
    """Whether one dependency is available; `detail` says what to do if it is not."""

    ok: bool
    detail: str = "ok"


class Readiness(Response):
    """Whether requests can be served. If they can, a failed check says why some fail, or jobs start late."""

    ready: bool
    checks: dict[Dependency, Check]


class Version(Response):
    """The version of the API's code."""

    version: str
