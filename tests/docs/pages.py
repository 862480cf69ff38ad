"""The examples of a Markdown page: what it has readers type, and what it shows as the answer."""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.token import Token

_PROMPT = "$ "
_NEEDS = re.compile(r"#.*\bneeds ([^;,]+)")
_EXIT_CODE = re.compile(r"#.*\bexit code (\d+)")
# a server, or a view of all jobs: in a terminal of its own, until Ctrl-C
_UNTIL_STOPPED = re.compile(r"make up|\S*trainshed (up|api|worker|watch)(\s+#.*)?")
_PROGRAM = re.compile(r"(from|import|async def) ")
_UNCHECKED = {"sh", "bash", "shell", "zsh"}


class InvalidPage(ValueError):
    """A page has commands in a form that nothing would check."""


@dataclass(frozen=True)
class Example:
    """One command of a page, or one Python program.

    Attributes:
        line: where it is in the page, from 1.
        code: what to run.
        output: the lines that the page shows as its output; without any, none is expected to be compared.
        output_at: where these lines are in the page, from 1.
        language: `console` or `python`.
    """

    line: int
    code: str
    output: Sequence[str]
    output_at: int
    language: str = "console"

    @property
    def needs(self) -> str:
        """What a test has not got, according to a comment `# needs ...`; empty if it can be run."""
        found = _NEEDS.search(self.code) if self.language == "console" else None
        return found[1].strip() if found else ""

    @property
    def exit_code(self) -> int:
        """The exit code that a comment `# exit code N` promises; without one: 0."""
        found = _EXIT_CODE.search(self.code) if self.language == "console" else None
        return int(found[1]) if found else 0

    @property
    def runs_until_stopped(self) -> bool:
        """Whether it ends only by Ctrl-C, so that readers type what follows in another terminal."""
        return self.language == "console" and bool(_UNTIL_STOPPED.fullmatch(self.code))


def examples(text: str) -> list[Example]:
    """Return the examples of a page, in its order.

    They are the commands of `console` blocks (`$ ` before each, its output below), and the `python` blocks
    that begin with an import, each followed by its output as a `text` block, or by none.

    Raises:
        InvalidPage: the page has a block of shell commands of another kind.
    """
    fences = [token for token in MarkdownIt().parse(text) if token.type == "fence"]
    found: list[Example] = []
    for fence, following in zip(fences, [*fences[1:], None], strict=True):
        start, _ = fence.map or (0, 0)
        if fence.info in _UNCHECKED:
            raise InvalidPage(f"line {start + 1}: a block `{fence.info}`; commands belong into `console`")
        if fence.info == "console":
            found += _commands(fence.content.splitlines(), start + 2)
        elif fence.info == "python" and _PROGRAM.match(fence.content):
            found.append(_program(fence, following))
    return found


def _commands(lines: Sequence[str], first_line: int) -> Iterator[Example]:
    starts = [at for at, line in enumerate(lines) if line.startswith(_PROMPT)]
    if not starts or starts[0] != 0:
        raise InvalidPage(f"line {first_line}: a `console` block begins with `{_PROMPT}` and a command")
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        length = 1
        while not _is_complete("\n".join(lines[start : start + length])):
            length += 1
            if start + length > end:
                raise InvalidPage(f"line {first_line + start}: the command does not end")
        code = "\n".join(lines[start : start + length]).removeprefix(_PROMPT)
        output = lines[start + length : end]
        yield Example(first_line + start, code, output, first_line + start + length)


def _is_complete(command: str) -> bool:
    """Return whether a shell would run it, instead of waiting for another line."""
    try:
        shlex.split(command, comments=True)
    except ValueError:  # an open quotation
        return False
    return not command.endswith("\\")


def _program(fence: Token, following: Token | None) -> Example:
    start, end = fence.map or (0, 0)
    output, output_at = [], end + 1
    begins = following.map[0] if following is not None and following.map else 0
    if following is not None and following.info == "text" and 0 <= begins - end <= 1:  # directly below
        output, output_at = following.content.splitlines(), begins + 2
    return Example(start + 2, fence.content, output, output_at, "python")
