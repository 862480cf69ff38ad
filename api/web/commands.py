"""The commands that submit a job or a sweep without the page: curl, the command line, Python."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request

from api.http.callers import LOCAL_CALLER
from shared.addresses import is_loopback
from shared.lifecycle import JobKind
from shared.schemas import JobCreate, SweepCreate

# the fields with an option of `trainshed sweep submit`
_OF_SWEEPS = frozenset(
    ("dataset", "model", "epochs", "batch_size", "learning_rate", "optimizer", "seed", "name", "tags")
) | {"queue", "priority", "count"}
# the options whose names differ from their fields' names
_FLAGS = {"tags": "--tag", "max_runtime_s": "--max-runtime", "scheduled_at": "--at"}
_WIDTH = 88  # characters of a line of Python


@dataclass(frozen=True)
class Commands:
    """The same request in three languages."""

    curl: str
    command: str
    python: str


@dataclass(frozen=True)
class _Site:
    """The API that serves a page, as its visitor reaches it.

    Attributes:
        elsewhere: the URL if clients must be given it, because it is not a loopback address; else empty.
    """

    url: str
    elsewhere: str
    needs_key: bool

    @classmethod
    def of(cls, page: Request) -> "_Site":
        url = str(page.base_url).rstrip("/")
        is_here = is_loopback(urlsplit(url).hostname or "")
        needs_key = getattr(page.state, "caller", None) is not LOCAL_CALLER
        return cls(url, "" if is_here else url, needs_key)


def of_request(page: Request, job: JobCreate) -> Commands:
    """Return the commands with which the visitor of a page submits a job to the API that serves the page."""
    site = _Site.of(page)
    body = {"kind": job.kind.value, **job.model_dump(mode="json", exclude_defaults=True)}
    words = ["trainshed", body["kind"]]
    if body["kind"] == JobKind.EVALUATE:
        words.append(body["spec"]["model_id"])
    options = {name: value for name, value in _fields(body).items() if name not in ("kind", "model_id")}
    is_training = body["kind"] == JobKind.TRAIN
    types = ("TrainJobCreate", "TrainRequest") if is_training else ("EvaluateJobCreate", "EvaluateRequest")
    arguments = {name: value for name, value in body.items() if name != "kind" or not is_training}
    return Commands(
        _curl("/v1/jobs", body, site),
        _command(words, options, site),
        _python("job = client.submit", types, arguments, "client.wait(job.id).state", site),
    )


def of_sweep(page: Request, sweep: SweepCreate) -> Commands:
    """Return the commands that submit a sweep; `command` is empty if `trainshed` lacks an option for it."""
    site = _Site.of(page)
    body = {"strategy": sweep.strategy, **sweep.model_dump(mode="json", exclude_defaults=True)}
    options = {name: value for name, value in _fields(body).items() if name not in ("strategy", "parameters")}
    words = ["trainshed", "sweep", "submit"]
    for name, values in body["parameters"].items():
        words += ["--param", f"{name}={_choices(values)}"]
    types = (f"{body['strategy'].capitalize()}SweepCreate", "TrainRequest")
    return Commands(
        _curl("/v1/sweeps", body, site),
        _command(words, options, site) if options.keys() <= _OF_SWEEPS else "",
        _python("sweep = client.submit_sweep", types, body, "sweep.id", site),
    )


def _fields(body: Mapping[str, Any]) -> dict[str, Any]:
    return {**body.get("spec", {}), **{name: value for name, value in body.items() if name != "spec"}}


def _choices(values: Any) -> str:
    if isinstance(values, dict):
        return f"{'log:' if values.get('log') else ''}{values['min']}..{values['max']}"
    return ",".join(map(str, values))


def _curl(path: str, body: Mapping[str, Any], site: _Site) -> str:
    key = ['-H "Authorization: Bearer $TRAINSHED_API_KEY"'] if site.needs_key else []
    data = shlex.quote(json.dumps(body, ensure_ascii=False))
    lines = [f"curl {site.url}{path}", "-H 'Content-Type: application/json'", *key, f"-d {data}"]
    return " \\\n  ".join(lines)


def _command(words: Sequence[str], options: Mapping[str, Any], site: _Site) -> str:
    flags = [
        word
        for name, value in options.items()
        for word in _option(_FLAGS.get(name, f"--{name.replace('_', '-')}"), value)
    ]
    return shlex.join([*words, *flags, *(["--url", site.elsewhere] if site.elsewhere else [])])


def _option(flag: str, value: Any) -> Iterator[str]:
    for item in value if isinstance(value, list) else [value]:
        yield flag
        if item is not True:  # True stands for a flag without a value
            yield str(item)


def _python(call: str, types: tuple[str, str], fields: Mapping[str, Any], result: str, site: _Site) -> str:
    """Return a Python program that submits a request.

    Args:
        call: the code in front of the request, up to the name of the client's method.
        types: the types of the request and of its `spec`.
        fields: the request's fields.
        result: the expression that is printed.
    """
    request, spec = types
    arguments = [f"{name}={value!r}" for name, value in fields.items() if name != "spec"]
    has_spec = bool(fields.get("spec"))
    if has_spec:
        values = [f"{name}={value!r}" for name, value in fields["spec"].items()]
        arguments.append(f"spec={_call(spec, values, 4)}")
    imports = ", ".join(["Client", request, *([spec] if has_spec else [])])
    return (
        f"from trainshed import {imports}\n\n"
        f"client = Client({repr(site.elsewhere) if site.elsewhere else ''})\n"
        f"{call}({_call(request, arguments, 0)})\n"
        f"print({result})"
    )


def _call(name: str, arguments: list[str], indent: int) -> str:
    """Return a call, with a line for each argument if it is long."""
    line = f"{name}({', '.join(arguments)})"
    if len(line) + indent < _WIDTH - 20 and "\n" not in line:
        return line
    space = " " * (indent + 4)
    return f"{name}(\n" + "".join(f"{space}{argument},\n" for argument in arguments) + " " * indent + ")"
