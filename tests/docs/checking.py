"""Runs the examples of a page one after the other, and compares what they print with what the page shows."""

from collections.abc import Iterator, Sequence
from time import monotonic
from typing import NamedTuple

from tests.docs.forms import ELLIPSIS, Ids, difference, replace_ids
from tests.docs.pages import Example
from tests.docs.terminal import Result, Terminal


class Outcome(NamedTuple):
    """What became of an example.

    Attributes:
        problem: how it differs from the page; empty if it does not, or was not run.
        output: what it has printed, with the page's ids in place of this run's.
        took_s: seconds until it had ended, or was ready.
    """

    example: Example
    problem: str = ""
    output: str = ""
    took_s: float = 0.0


def check(examples: Sequence[Example], terminal: Terminal) -> Iterator[Outcome]:
    """Run the examples of a page, and yield what became of each."""
    ids: Ids = {}
    for example in examples:
        if example.needs:
            yield Outcome(example)
            continue
        began = monotonic()
        result = _run(example, terminal, ids)
        problem = _problem(example, result, ids)
        output = replace_ids(result.output, {actual: shown for shown, actual in ids.items()})
        yield Outcome(example, problem, output, monotonic() - began)


def _run(example: Example, terminal: Terminal, ids: Ids) -> Result:
    code = replace_ids(example.code, ids)
    if example.language == "python":
        return terminal.run_python(code)
    if example.runs_until_stopped:
        return terminal.start(
            code, lambda output: not difference([*example.output, ELLIPSIS], output, dict(ids))
        )
    return terminal.run(code)


def _problem(example: Example, result: Result, ids: Ids) -> str:
    """Return how a result differs from what the page shows; empty if it does not."""
    if example.runs_until_stopped:
        if result.exit_code is not None:
            return f"it ended, with exit code {result.exit_code}"
        return difference([*example.output, ELLIPSIS], result.output, ids)
    if result.exit_code != example.exit_code:
        return f"exit code {result.exit_code}, not {example.exit_code}"
    return difference(example.output, result.output, ids) if example.output else ""
