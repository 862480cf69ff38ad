"""`python -m tests.web.terminal_pictures FOLDER [NAME...]`: what commands show, at three widths.

On a stack of its own, with jobs that the real worker trains on `digits`, and one on all images of `mnist`,
whose epochs take a while. The commands run in terminals; each picture, dark and light, shows all that one
has written.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser
from pydantic import SecretStr
from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, SVG_EXPORT_THEME, TerminalTheme
from rich.text import Text

from shared.schemas import ApiKeyCreate, GridSweepCreate, Scope, TrainJobCreate, TrainRequest
from shared.settings import Settings
from tests.support.browsing import event_loop_of, running_chromium
from tests.support.terminals import Terminal
from trainshed import Client
from trainshed.local import ports
from trainshed.local.stack import LocalStack

_WIDTHS = (60, 80, 200)
_THEMES: Mapping[str, TerminalTheme] = {"dark": SVG_EXPORT_THEME, "light": DEFAULT_TERMINAL_THEME}
_WAIT_S = 300.0
_KEY = "a secret of the administrator"
_LONG_NAME = "learning rate too high, to see how it diverges from the codelab's"


def main(folder: Path, names: Sequence[str] = ()) -> None:
    """Take the pictures of some commands, by default of all."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="terminals-") as data:
        port = ports.find_free("127.0.0.1")
        settings = Settings(data_dir=Path(data), port=port, api_keys=(SecretStr(_KEY),))
        with LocalStack(settings, report=_say) as stack, Client(stack.url, api_key=_KEY) as client:
            commands = _prepare(client)
            with running_chromium() as browser, event_loop_of(browser):
                for name, (command, until) in commands.items():
                    if names and name not in names:
                        continue
                    for width in _WIDTHS:
                        with _shown(command, stack.url, width, until) as screen:
                            for theme in _THEMES:
                                path = folder / f"{name}-{width}-{theme}.png"
                                _draw(browser, screen, f"trainshed {name}", width, theme, path)
                    _say(name)


def _prepare(client: Client) -> dict[str, tuple[str, str]]:
    """Run jobs; return by name each command, and for one that follows jobs the text to wait for."""
    first = client.submit(_train("codelab", tags=("a", "b"), epochs=5, batch_size=32, threshold=0.4))
    second = client.submit(_train(_LONG_NAME, epochs=3, learning_rate=0.5, model="dense"))
    failing = client.submit(
        _train("too long", epochs=1_000).model_copy(update={"max_runtime_s": 1.0, "max_attempts": 1})
    )
    grid = GridSweepCreate(
        name="learning rate, batch size and optimizer",
        spec=TrainRequest(dataset="digits", epochs=2),
        parameters={"learning_rate": (0.001, 0.003), "batch_size": (64, 128), "optimizer": ("adam", "sgd")},
    )
    sweep = client.submit_sweep(grid)
    for job_id in (first.id, second.id, failing.id, *(result.job_id for result in sweep.jobs)):
        client.wait(job_id, timeout_s=_WAIT_S)
    client.change_model(first.id, alias="champion", description="The best of the codelab's settings.")
    running = client.submit(
        TrainJobCreate(name="all images", spec=TrainRequest(dataset="mnist", train_size=55_000, epochs=100))
    )
    for priority in ("normal", "urgent"):
        waiting = TrainJobCreate.model_validate(
            {"name": "waits", "queue": "gpu-large", "priority": priority, "spec": {"dataset": "digits"}}
        )
        client.submit(waiting)
    client.pause("gpu-large")
    client.create_api_key(ApiKeyCreate(name="a notebook", scope=Scope.SUBMIT, expires_in_s=90 * 86_400))
    client.revoke_api_key(client.create_api_key(ApiKeyCreate(name="wall display", max_running=2)).id)
    next(event for event in client.stream(running.id) if event.data.get("epochs"))
    worker = client.workers()[0].id
    others = " ".join(str(result.job_id) for result in sweep.jobs[:4])
    return {
        "train": ("train --dataset digits --epochs 2 --priority urgent --name another", ""),
        "watch": (f"watch {running.id}", "left"),
        "watch-all": ("watch", "queued"),
        "jobs": ("jobs", ""),
        "show": (f"show {first.id}", ""),
        "show-failed": (f"show {failing.id}", ""),
        "status": ("status", ""),
        "compare": (f"compare {first.id} {second.id} {others}", ""),
        "sweeps": ("sweep list", ""),
        "sweep": ("sweep show last", ""),
        "models": ("models", ""),
        "model": ("model champion", ""),
        "metrics": (f"metrics {first.id} {second.id}", ""),
        "events": (f"events {first.id}", ""),
        "logs": (f"logs {first.id}", ""),
        "workers": ("workers", ""),
        "worker": (f"workers history {worker}", ""),
        "queues": ("queues", ""),
        "datasets": ("datasets", ""),
        "help": ("--help", ""),
        "mistake": ("train --epoch 3", ""),
        "keys": ("keys list", ""),
    }


def _train(name: str, tags: tuple[str, ...] = (), **spec: object) -> TrainJobCreate:
    return TrainJobCreate(
        spec=TrainRequest.model_validate({"dataset": "digits", **spec}), name=name, tags=tags
    )


@contextmanager
def _shown(command: str, url: str, width: int, until: str) -> Iterator[str]:
    """Run a command; yield what it shows at its end, or when a text is shown that it follows jobs."""
    program = [sys.executable, "-m", "trainshed.cli.main", *command.split()]
    terminal = Terminal(program, columns=width, environment={"TRAINSHED_URL": url, "TRAINSHED_API_KEY": _KEY})
    if until:
        terminal.wait_for(until)
        yield terminal.screen()
        terminal.kill()
    else:
        terminal.wait(_WAIT_S)
        yield terminal.screen()


def _draw(browser: Browser, screen: str, title: str, width: int, theme: str, path: Path) -> None:
    console = Console(record=True, width=width, file=StringIO(), force_terminal=True, highlight=False)
    console.print(Text.from_ansi(screen.rstrip()))
    svg = console.export_svg(title=title, theme=_THEMES[theme])
    page = browser.new_page(color_scheme="dark" if theme == "dark" else "light")
    page.set_content(f"<body style='margin:0'>{svg}</body>")
    page.locator("svg").first.screenshot(path=path)
    page.close()


_say: Callable[[str], None] = print

if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
