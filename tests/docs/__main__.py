"""`python -m tests.docs`: every command of the documents, in a fresh clone, against real servers.

Prints a line for each; of one that fails, what it has printed. With `--update`, that is also written into the
page, in full: shorten it by `...`. `--outputs` prints the outputs of all commands. Those with a comment
`# needs ...` are listed, and not run.
"""

import argparse
import json
import re
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from tests.docs.checking import Outcome, check
from tests.docs.checkout import make_clone, new_environment
from tests.docs.forms import ELLIPSIS
from tests.docs.pages import examples
from tests.docs.terminal import Terminal
from tests.support.paths import ROOT
from trainshed.local import ports

PAGES = ("README.md", "docs/tutorial.md", "docs/api.md", "docs/client.md")
_WIDTH = 120
_ELEMENTS = 2
_CHARACTERS = 200


def main() -> int:
    """Check the pages and print the outcomes; return 1 if any command differs from its page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "pages", nargs="*", default=PAGES, metavar="PAGE", help=f"default: {', '.join(PAGES)}"
    )
    parser.add_argument("--update", action="store_true", help="write new outputs into the pages")
    parser.add_argument("--outputs", action="store_true", help="print what each command has printed")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # servers must not outlive this
    began = monotonic()
    outcomes = []
    for page in arguments.pages:
        found = _check_page(page, with_outputs=arguments.outputs)
        if arguments.update:
            _update(ROOT / page, found)
        outcomes += found
    failed = sum(bool(outcome.problem) for outcome in outcomes)
    not_run = sum(bool(outcome.example.needs) for outcome in outcomes)
    took_s = monotonic() - began
    _say(f"{len(outcomes) - not_run} commands run, {failed} failed, {not_run} not run; {took_s:.0f} s")
    return int(failed > 0)


def _check_page(page: str, *, with_outputs: bool) -> list[Outcome]:
    """Check a page in a clone of its own, as its readers begin: without data or running servers."""
    outcomes = []
    _say(page)
    # a short path: that of Redis's socket is limited
    with tempfile.TemporaryDirectory(prefix="docs-") as name:
        clone = make_clone(Path(name))
        port = ports.find_free("127.0.0.1")
        text = (clone / page).read_text()
        with Terminal(clone, new_environment(Path(name), port), port) as terminal:
            for outcome in check(examples(text), terminal):
                _say(_line(outcome, with_outputs=with_outputs))
                outcomes.append(outcome)
    return outcomes


def _line(outcome: Outcome, *, with_outputs: bool) -> str:
    example = outcome.example
    code = " ".join(example.code.split())
    head = f"{example.line:5d}  {code[:_WIDTH]}{'...' if len(code) > _WIDTH else ''}"
    if example.needs:
        return f"not run {head}"
    if not outcome.problem:
        output = f"\n{_readable(outcome.output)}\n" if with_outputs else ""
        return f"ok      {head}  ({outcome.took_s:.1f} s){output}"
    return f"FAILED  {head}\n{outcome.problem}; it printed:\n{_readable(outcome.output)}\n"


def _update(page: Path, outcomes: Sequence[Outcome]) -> None:
    """Replace the outputs in a page that differ, from its end, so that line numbers before stay right."""
    lines = page.read_text().splitlines()
    for outcome in reversed(outcomes):
        if outcome.problem:
            start = outcome.example.output_at - 1
            lines[start : start + len(outcome.example.output)] = _readable(outcome.output).splitlines()
    page.write_text("\n".join(lines) + "\n")


def _readable(output: str) -> str:
    """Return an output as a page shows it: JSON in lines of 120 characters, its lists shortened."""
    try:
        text = json.dumps(_shortened(json.loads(output)), ensure_ascii=False).replace(
            f'"{ELLIPSIS}"', ELLIPSIS
        )
    except ValueError:
        return "\n".join(map(str.rstrip, output.splitlines()))
    lines = [""]
    for part in re.findall(r'(?:"(?:[^"\\]|\\.)*"|[^,"])+(?:, )?', text):
        if len(lines[-1]) + len(part.rstrip()) > _WIDTH:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)


def _shortened(value: Any) -> Any:
    """Return a value of JSON with `...` after the beginnings of long lists and texts."""
    if isinstance(value, dict):
        return {name: _shortened(member) for name, member in value.items()}
    if isinstance(value, list):
        length = _ELEMENTS if len(value) > _ELEMENTS + 1 else len(value)
        return [*map(_shortened, value[:length]), *([ELLIPSIS] if length < len(value) else [])]
    if isinstance(value, str) and len(value) > _CHARACTERS:
        return value[: _CHARACTERS // 2] + ELLIPSIS
    return value


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
