"""The command line against the fake API."""

import pytest

from tests.support.command_line import CommandLine
from tests.support.fake_api import FakeApi


@pytest.fixture
def cli() -> CommandLine:
    return CommandLine(FakeApi())
