"""How long the tasks of a page's main thread took, from a trace of Chromium's."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Page

_CATEGORIES = ["toplevel", "devtools.timeline", "disabled-by-default-devtools.timeline"]
_TASKS = ("RunTask", "ThreadControllerImpl::RunTask")  # the names of newer and older versions


@dataclass
class MainThread:
    """The tasks of a main thread: while one runs, no frame is made.

    Attributes:
        cpu_ms: the CPU time of each task, which other load of the machine does not lengthen.
        wall_ms: the wall time of each.
    """

    cpu_ms: list[float] = field(default_factory=list)
    wall_ms: list[float] = field(default_factory=list)


@contextmanager
def traced(page: Page) -> Iterator[MainThread]:
    """Trace a page for the length of a `with` block; the result is filled in at its end."""
    session = page.context.new_cdp_session(page)
    result, events, done = MainThread(), list[dict[str, Any]](), list[object]()
    session.on("Tracing.dataCollected", lambda message: events.extend(message["value"]))
    session.on("Tracing.tracingComplete", lambda message: done.append(message))
    config = {"includedCategories": _CATEGORIES}
    session.send("Tracing.start", {"traceConfig": config, "transferMode": "ReportEvents"})
    yield result
    session.send("Tracing.end")
    while not done:
        page.evaluate("new Promise((resolve) => setTimeout(resolve, 50))")  # lets events arrive
    session.detach()
    main = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    name = next(name for name in _TASKS if any(event["name"] == name for event in events))
    for event in events:
        if event["name"] == name and event["ph"] == "X" and (event["pid"], event["tid"]) in main:
            result.cpu_ms.append(event.get("tdur", 0) / 1000)
            result.wall_ms.append(event["dur"] / 1000)
