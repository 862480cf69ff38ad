"""The commands that run something on this host: `trainshed up`, `demo`, `api`, `worker`, `migrate`."""

import gc
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Annotated

import typer
from pydantic import SecretStr

from shared.settings import ExposedApi, Settings, get_settings
from trainshed.async_client import local_url
from trainshed.cli import options
from trainshed.cli.demo import run_demo
from trainshed.cli.exit_codes import ExitCode
from trainshed.cli.formatting import program
from trainshed.cli.output import confirm, progress_bar, say, show, write_json
from trainshed.errors import UsageError
from trainshed.local import database, ports
from trainshed.local.extras import require
from trainshed.local.stack import LocalStack

_STACK = ("local", "worker")
_SHUTDOWN_TIMEOUT_S = 5  # for requests that the API is still serving when it is stopped


def up(as_json: options.Json = False) -> None:
    """Run Redis, the database, the API and a worker on this host, until Ctrl-C."""
    require(*_STACK)
    settings = get_settings()
    try:
        with _interruptible(), LocalStack(settings, report=_report) as stack:
            if as_json:
                write_json({"url": stack.url, "pid": os.getpid(), "data_dir": str(settings.data_dir)})
            else:
                show(_welcome(stack.url, settings))
            try:
                stack.wait()
            finally:
                say("Stopping; the worker releases its job.")
    except KeyboardInterrupt:
        say("Stopped.")


def demo(ctx: typer.Context, as_json: options.Json = False) -> None:
    """Run the stack, train the codelab's model on MNIST, show the results, and stop."""
    require(*_STACK)
    settings = get_settings()
    if key := ctx.meta.get(options.API_KEY):
        settings = settings.model_copy(update={"api_key": SecretStr(key)})
    try:
        with _interruptible():
            code = run_demo(settings, report=_report, as_json=as_json)
    except KeyboardInterrupt:
        say("Stopped.")
        code = ExitCode.DETACHED
    raise typer.Exit(code)


def api() -> None:
    """Serve the API, in the foreground."""
    require("server")
    # imported here, since other commands do not need it
    import uvicorn

    from shared import log

    settings = get_settings()
    try:
        settings.require_guarded()
    except ExposedApi as error:
        raise UsageError(str(error)) from error
    ports.require_free(settings.host, settings.port)
    database.require_version(settings)
    log.configure(settings.log_level, secrets=settings.secrets)
    # until the app sets its own threshold; garbage collection during imports takes a sixth of the start
    gc.set_threshold(100_000)
    _raise_descriptor_limit()
    try:
        uvicorn.run(
            "api.app:create_app",
            factory=True,
            host=settings.host,
            port=settings.port,
            log_config=None,
            # the app reads the headers of TRUSTED_PROXIES, and no others
            proxy_headers=False,
            http="api.http.connections:Connection",
            timeout_graceful_shutdown=_SHUTDOWN_TIMEOUT_S,
        )
    except SystemExit as error:  # uvicorn's code of a failed start, 3, means CANCELLED here
        raise typer.Exit(ExitCode.FAILED if error.code else ExitCode.DONE) from error


def worker(
    check: Annotated[
        bool, typer.Option("--check", help="Run nothing: say what a worker lacks here, and exit.")
    ] = False,
) -> None:
    """Run a worker, in the foreground; when it is stopped, its jobs return to the queue.

    It waits for the database, its schema and Redis, and says which is missing.
    """
    require("worker")
    get_settings()  # reports invalid settings
    arguments = ["--check"] if check else []
    # the worker replaces this process, so that signals reach it; -P as in trainshed.local.stack
    os.execv(sys.executable, [sys.executable, "-P", "-m", "workers", *arguments])


def migrate(as_json: options.Json = False) -> None:
    """Migrate the database's schema to this version; a newer one is left as it is.

    From 0.1.0, stop the API and the workers first: all rows are moved. After an interruption, run it again.
    """
    require("server")
    settings = get_settings()
    if as_json:  # stderr has one document and nothing else
        done = database.migrate(settings)
    else:
        with progress_bar() as progress:
            done = database.migrate(settings, say, progress)
    confirm({"migrated": True}, done, as_json=as_json)


def _raise_descriptor_limit() -> None:
    """Raise the limit of file descriptors, usually 1,024, to the hard limit, to allow more connections."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(OSError, ValueError):  # macOS refuses "unlimited"
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextmanager
def _interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt in this block at SIGTERM and a closed terminal, as at Ctrl-C."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _report(line: str) -> None:
    say(f"- {line}", "dim")


def _welcome(url: str, settings: Settings) -> str:
    is_default = url == local_url(Settings.model_construct()) and not settings.url
    export = "" if is_default else f"  export TRAINSHED_URL={url}\n"
    commands = {
        "train": "train the codelab's model",
        "open": "show that job in the browser",
        "train --help": "list all options of a job",
        "jobs": "list jobs",
    }
    lines = "".join(f"  {program()} {command:<16}{what}\n" for command, what in commands.items())
    return f"""
Trainshed is running at {url}
Open it in a browser. Press Ctrl-C here to stop it.

  Docs     {url}/docs
  Data     {settings.data_dir}
  Logs     {settings.data_dir / "logs"}

From another terminal:

{export}{lines}"""
