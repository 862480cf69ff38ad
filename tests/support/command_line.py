"""The command line in this process, against the fake API."""

import json
from typing import Any

from typer.testing import CliRunner, Result

from tests.support.fake_api import FakeApi
from trainshed.cli.main import app


class CommandLine:
    """Runs commands; what they wrote and how they ended is in the result."""

    def __init__(self, api: FakeApi) -> None:
        self.api = api

    def run(self, *arguments: object) -> Result:
        return CliRunner().invoke(app, [str(one) for one in arguments], obj=self.api.connect)

    def sent(self) -> Any:
        """The body of the newest submission."""
        posts = [request for request in self.api.requests if request.method == "POST"]
        return json.loads(posts[-1].content)
