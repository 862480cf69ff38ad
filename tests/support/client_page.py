"""The reference page of the client's methods, from their signatures and docstrings.

`python -m tests.support.client_page` writes it; a test compares.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from inspect import cleandoc
from pathlib import Path

from shared import schemas
from tests.support.paths import ROOT

PAGE = ROOT / "docs/client.md"

_WIDTH = 100
_FOLDER = ROOT / "trainshed/operations"
# in the order of the page
_MODULES = ("jobs", "following", "results", "models", "sweeps", "workers", "webhooks")

_HEAD = """# The Python client

Written by `python -m tests.support.client_page` from the docstrings of `trainshed/operations/`.

`pip install trainshed` brings the client and the command line, without the server: httpx, pydantic, rich
and typer. The examples need a server: in a checkout

```console
$ make up
...
Trainshed is running at http://127.0.0.1:8000
...
```

```python
from trainshed import Client

client = Client()  # the server of TRAINSHED_URL, or this host's; the key of TRAINSHED_API_KEY
job = client.train(dataset="digits", epochs=5, seed=1)
client.wait(job)
print(client.evaluation(job).accuracy)
print(client.metrics(job).to_frame().tail(2))  # needs pandas
```

```text
0.5279187817258884
           loss  accuracy  val_loss  val_accuracy
epoch
3      2.135273  0.411429  2.089992         0.405
4      2.073983  0.518571  2.022994         0.620
```

`AsyncClient` has the same methods, to be awaited, or iterated over by `async for` where they return
`Items`:

```python
import asyncio

from trainshed import AsyncClient


async def main() -> None:
    async with AsyncClient() as client:
        job = await client.train(epochs=5)
        async for event in client.stream(job):
            print(event.seq, event.type)


asyncio.run(main())
```

```text
1 submitted
2 claimed
...
11 succeeded
```

* A **job** is named by itself, by a result of a sweep, by its id, or by `last`, the newest one. A **model**
  is named by itself, by the job that trained it, by its id or alias, or by `last`; a **sweep** by itself,
  its id, or `last`.
* `Items` are an iterator whose pages are fetched as needed, with `to_list()`, `to_frame()` and `close()`.
* In a notebook jobs, metrics, evaluations, sweeps, comparisons and predictions are shown as tables and
  curves. `to_frame()` of lists, metrics, evaluations (by class), sweeps and comparisons returns a
  DataFrame, if pandas is installed.
* Every request is retried while the server cannot be reached or is busy. A request that creates jobs carries
  an idempotency key, so that a repeated request creates nothing twice.
* Every method may raise `ServerUnreachable` (no response, after all retries), `TrainshedApiError` (the
  server refused the request; its `problem` says why), `UnexpectedResponse` (another program responded) and
  `UsageError` (an argument is wrong): all are `ClientError`.

"""


def render() -> str:
    """Return the page."""
    parts = [_HEAD]
    for module in _MODULES:
        for node in _classes(_FOLDER / f"{module}.py"):
            if any(_methods(node)):
                parts += [f"## {_doc(node).rstrip('.')}", *map(_method, _methods(node))]
    parts.append("## Fields")
    parts += [_fields(node) for node in _classes(_FOLDER / "fields.py")]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _classes(path: Path) -> Iterator[ast.ClassDef]:
    return (node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef))


def _methods(node: ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (
        item
        for item in node.body
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and not item.name.startswith("_")
    )


def _method(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    arguments = [_plain(argument) for argument in _split(ast.unparse(node.args))[1:]]  # without `self`
    result = _plain(ast.unparse(node.returns)) if node.returns else "None"
    signature = f"{node.name}({', '.join(arguments)}) -> {result}"
    if len(signature) > _WIDTH:
        inner = "".join(f"    {argument},\n" for argument in arguments)
        signature = f"{node.name}(\n{inner}) -> {result}"
    return f"### `{node.name}`\n\n```python\n{signature}\n```\n\n{_paragraphs(_doc(node))}"


def _plain(code: str) -> str:
    """Return an argument or a type as the page has it: with values in place of names of this package."""
    name, equals, default = code.rpartition("=")
    spaced = f"{name} = {default}" if equals and ":" in name else code
    for pattern, text in _names().items():
        spaced = re.sub(rf"\b{pattern}\b", text, spaced)
    return re.sub(r"\b(Resolution|Part|Split|LogLevel)\.(\w+)", _value, spaced)


def _value(member: re.Match[str]) -> str:
    return repr(str(getattr(schemas, member[1])[member[2]]))


@cache
def _names() -> dict[str, str]:
    """Return what the page writes in place of names: the values that a field may have, defaults."""
    names = {"AsyncItems": "Items", r"schemas\.(?=\w)": "", "LAST": "'last'", "PAGE_SIZE": "100"}
    names["DEFAULT_OBJECTIVE"] = repr(schemas.DEFAULT_OBJECTIVE)
    for node in ast.parse((_FOLDER / "fields.py").read_text()).body:
        if isinstance(node, ast.Assign):
            values = [item.value for item in ast.walk(node.value) if isinstance(item, ast.Constant)]
            names[ast.unparse(node.targets[0])] = f"Literal[{', '.join(map(repr, values))}]"
    return names


def _split(arguments: str) -> list[str]:
    """Split arguments at the commas that are not in brackets."""
    parts, depth = [""], 0
    for char in arguments:
        depth += (char in "([") - (char in ")]")
        if char == "," and not depth:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts]


def _paragraphs(text: str) -> str:
    """Return a docstring as Markdown: its sections' entries become lists."""
    lines: list[str] = []
    for line in text.splitlines():
        if line.endswith(":") and line[:-1] in ("Args", "Raises"):
            lines += [{"Args:": "Arguments:", "Raises:": "Raises:"}[line], ""]
        elif line.startswith("    ") and not line.startswith("     "):
            name, _, rest = line.strip().partition(": ")
            lines.append(f"* `{name}`: {rest}")
        else:
            lines.append(line.removeprefix("      "))
    return "\n".join(lines)


def _fields(node: ast.ClassDef) -> str:
    bases = [ast.unparse(base) for base in node.bases if ast.unparse(base) != "TypedDict"]
    more = f" Also those of `{bases[0]}`." if bases else ""
    rows = [_plain(ast.unparse(item)) for item in node.body if isinstance(item, ast.AnnAssign)]
    listed = "\n".join(f"* `{row}`" for row in rows)
    return f"### `{node.name}`\n\n{_doc(node)}{more}\n\n{listed}"


def _doc(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    return cleandoc(ast.get_docstring(node) or "")


if __name__ == "__main__":
    PAGE.write_text(render())
