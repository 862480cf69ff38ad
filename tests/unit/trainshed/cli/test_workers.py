"""`trainshed workers`. (Its other commands and `queues`: tests/integration/test_operations.py.)"""

import json

from tests.support.command_line import CommandLine


def test_workers_are_listed(cli: CommandLine) -> None:
    assert "host:42" in cli.run("workers").stdout
    assert json.loads(cli.run("workers", "--json").stdout)[0]["id"] == "host:42"


def test_an_empty_list_of_workers_is_a_message(cli: CommandLine) -> None:
    cli.api.workers = ()
    assert "`trainshed worker`" in cli.run("workers").stderr
