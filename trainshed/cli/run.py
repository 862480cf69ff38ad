"""The commands that run things on this host: the local stack, the demo, the API, a worker, the migrations."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from shared.settings import ExposedApi, Settings, get_settings
from trainshed.cli import options
from trainshed.cli.demo import run_demo
from trainshed.cli.exit_codes import ExitCode
from trainshed.cli.output import say, show, write_json
from trainshed.errors import UsageError
from trainshed.local.stack import LocalStack
from trainshed.local.stack import migrate as migrate_database

_STREAMS_END_S = 5  # for how long the API waits for its last answers when it is stopped


def up(as_json: options.Json = False) -> None:
    """Run everything on this host: Redis, the database, the API and a worker. Ctrl-C stops it."""
    settings = get_settings()
    try:
        with _interruptible(), LocalStack(settings, say=_progress) as stack:
            if as_json:
                write_json({"url": stack.url, "pid": os.getpid(), "data_dir": str(settings.data_dir)})
            else:
                show(_welcome(stack.url, settings))
            try:
                stack.wait()
            finally:
                say("Stopping: the worker gives its job back.")
    except KeyboardInterrupt:
        say("Stopped.")


def demo(as_json: options.Json = False) -> None:
    """Run everything, train the codelab's model on MNIST, show what came out, and stop."""
    try:
        with _interruptible():
            code = run_demo(get_settings(), progress=_progress, as_json=as_json)
    except KeyboardInterrupt:
        say("Stopped.")
        code = ExitCode.DETACHED
    raise typer.Exit(code)


def api() -> None:
    """Serve the API, in the foreground."""
    # imported here: other commands do without
    import uvicorn

    from shared import log

    settings = get_settings()
    try:
        settings.require_guarded()
    except ExposedApi as error:
        raise UsageError(str(error)) from error
    log.configure(settings.log_level, secrets=settings.secrets)
    uvicorn.run(
        "api.app:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        log_config=None,
        timeout_graceful_shutdown=_STREAMS_END_S,
    )


def worker() -> None:
    """Run a worker, in the foreground: it takes jobs until it is stopped, and then gives its job back."""
    get_settings()  # refuses wrong ones in a line, where Celery would show a traceback
    # in this process's place, so that signals reach it; -P as in trainshed.local.stack
    os.execv(sys.executable, [sys.executable, "-P", "-m", "workers"])


def migrate(as_json: options.Json = False) -> None:
    """Bring the database's schema to this version's."""
    migrate_database(get_settings())
    if as_json:
        write_json({"migrated": True})
    else:
        say("The database is up to date.")


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM and a closed terminal end the block as Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _progress(line: str) -> None:
    say(f"- {line}", "dim")


def _welcome(url: str, settings: Settings) -> str:
    elsewhere = "" if settings.port == Settings.model_fields["port"].default else f" --url {url}"
    return f"""
Trainshed is running. Ctrl-C stops it.

  API      {url}
  Docs     {url}/docs
  Data     {settings.data_dir}
  Logs     {settings.data_dir / "logs"}

From another terminal:

  trainshed train{elsewhere}            the codelab's job
  trainshed train{elsewhere} --help     all that a job can be
  trainshed jobs{elsewhere}
"""
