"""Runs commands in this process against the fake API, and renders output as text."""

import json
from typing import Any

from rich.console import Console, RenderableType
from typer.testing import CliRunner, Result

from tests.support.fake_api import FakeApi
from trainshed.cli.main import app


class CommandLine:
    """Runs commands, and returns their output and exit codes."""

    def __init__(self, api: FakeApi) -> None:
        self.api = api

    def run(self, *arguments: object) -> Result:
        return CliRunner().invoke(app, list(map(str, arguments)), obj=self.api.connect)

    def sent(self) -> Any:
        """The body of the last submission."""
        posts = [request for request in self.api.requests if request.method == "POST"]
        return json.loads(posts[-1].content)


class Interrupting(list[float]):
    """The client's pauses, at the first of which Ctrl-C is pressed."""

    def append(self, pause: float) -> None:
        raise KeyboardInterrupt


def rendered_lines(renderable: RenderableType, width: int = 80, *, color: bool = False) -> list[str]:
    """The lines that a terminal of that width shows."""
    console = Console(width=width, force_terminal=color, color_system="standard" if color else None)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get().splitlines()
