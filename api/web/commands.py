"""The commands that submit a job without the page: curl, the command line, Python."""

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request

from api.http.callers import LOCAL_CALLER
from shared.addresses import is_loopback
from shared.lifecycle import JobKind
from shared.schemas import JobCreate

_FLAGS = {"tags": "--tag", "max_runtime_s": "--max-runtime"}  # of the others: the field's name
_WIDTH = 88  # of a line of Python


@dataclass(frozen=True)
class Commands:
    """The same request in three languages."""

    curl: str
    command: str
    python: str


def of_request(page: Request, job: JobCreate) -> Commands:
    """Return the commands that submit a job to the API that serves a page, as its visitor may."""
    url = str(page.base_url).rstrip("/")
    is_here = is_loopback(urlsplit(url).hostname or "")  # where clients find the API without its address
    needs_key = getattr(page.state, "caller", None) is not LOCAL_CALLER
    body = {"kind": job.kind.value, **job.model_dump(mode="json", exclude_defaults=True)}
    elsewhere = "" if is_here else url
    return Commands(_curl(body, url, needs_key), _command(body, elsewhere), _python(body, elsewhere))


def _curl(body: Mapping[str, Any], url: str, needs_key: bool) -> str:
    key = ['-H "Authorization: Bearer $TRAINSHED_API_KEY"'] if needs_key else []
    data = shlex.quote(json.dumps(body, ensure_ascii=False))
    lines = [f"curl {url}/v1/jobs", "-H 'Content-Type: application/json'", *key, f"-d {data}"]
    return " \\\n  ".join(lines)


def _command(body: Mapping[str, Any], url: str) -> str:
    fields = {**body.get("spec", {}), **body}
    words = ["trainshed", body["kind"]]
    if body["kind"] == JobKind.EVALUATE:
        words.append(fields.pop("model_id"))
    for name, value in fields.items():
        if name not in ("kind", "spec"):
            words += _option(_FLAGS.get(name, f"--{name.replace('_', '-')}"), value)
    return shlex.join([*words, *(["--url", url] if url else [])])


def _option(flag: str, value: Any) -> Iterator[str]:
    for item in value if isinstance(value, list) else [value]:
        yield flag
        if item is not True:  # a flag without a value
            yield str(item)


def _python(body: Mapping[str, Any], url: str) -> str:
    is_training = body["kind"] == JobKind.TRAIN
    job, spec = (
        ("TrainJobCreate", "TrainRequest") if is_training else ("EvaluateJobCreate", "EvaluateRequest")
    )
    kind = {} if is_training else {"kind": body["kind"]}
    options = {name: value for name, value in body.items() if name not in ("kind", "spec")}
    arguments = [f"{name}={value!r}" for name, value in {**kind, **options}.items()]
    if fields := body.get("spec"):
        arguments.append(f"spec={_call(spec, [f'{name}={value!r}' for name, value in fields.items()], 4)}")
    imports = ", ".join(["Client", job, *([spec] if fields else [])])
    return (
        f"from trainshed import {imports}\n\n"
        f"client = Client({repr(url) if url else ''})\n"
        f"job = client.submit({_call(job, arguments, 0)})\n"
        "print(client.wait(job.id).state)"
    )


def _call(name: str, arguments: list[str], indent: int) -> str:
    """Return a call, with a line for each argument if it is long."""
    line = f"{name}({', '.join(arguments)})"
    if len(line) + indent < _WIDTH - 20 and "\n" not in line:
        return line
    space = " " * (indent + 4)
    return f"{name}(\n" + "".join(f"{space}{argument},\n" for argument in arguments) + " " * indent + ")"
