"""Databases of the tests' own: the API that other tests share would deliver what is in theirs."""

import pytest


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a migrated, empty database; the test runs once for each kind of database."""
    return str(request.getfixturevalue(f"{request.param}_url"))
