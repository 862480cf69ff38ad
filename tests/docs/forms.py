"""Compares an output with the one that a page shows: its form, not its ids, numbers and times.

In what a page shows, `...` stands for what it leaves out: as a line for any number of lines, within a line
for any text, in JSON for further members or elements, at the end of a string for the rest of it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

ELLIPSIS = "..."
HOST = "myhost"  # what pages call the reader's host

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_SHORT = r"\b[0-9a-f]{8}\b"  # the end of an id
# also workers; keys, cursors and checksums: long words of letters and digits
_ID = rf"{_UUID}|{_SHORT}|\b{HOST}:\d+|\b(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{{20,}}"
_NUMBER = r"(?<![\w.])[-+]?\d+(?:,\d{3})*(?:\.\d+)*(?:e[-+]?\d+)?%?|·"  # a dot: none, in a matrix
_UNIT = r"(?:ms|s|seconds?|min|minutes?|h|hours?|d|days?)"
_CLOCK = r"\d{1,2}:\d\d(?::\d\d)?"
_TIME = rf"\d{{4}}-\d\d-\d\d(?:[T ]{_CLOCK}(?:\.\d+)?(?:Z|[-+]\d\d:\d\d)?)?|\b{_CLOCK}\b"
_PLACEHOLDERS = (
    ("<id>", _ID),
    ("<time>", _TIME),
    ("<duration>", rf"(?:(?:{_NUMBER}) ?{_UNIT}\b ?)+"),
    ("<number>", _NUMBER),
    (" ", "[\u2500-\u259f\u2800-\u28ff]+"),  # rules, bars and plots, which may also be absent
)
_PATTERN = re.compile("|".join(f"({pattern})" for _, pattern in _PLACEHOLDERS))

Ids = dict[str, str]
"""The ids of a page, and those that this run has got in their places."""


def normalized(text: str) -> str:
    """Return a text with ids, times, durations and numbers replaced by their kinds, and without bars."""
    named = _PATTERN.sub(lambda found: _PLACEHOLDERS[(found.lastindex or 1) - 1][0], text)
    return re.sub(r"\s+", " ", named).strip()


def difference(shown: Sequence[str], actual: str, ids: Ids) -> str:
    """Return how an output differs in form from the lines that a page shows; empty if it does not.

    Adds to `ids` the ids that both have in the same places. An id that a page shows twice must be the same
    both times.
    """
    text = "\n".join(shown)
    if text.lstrip()[:1] in ("{", "["):
        try:
            expected = json.loads(_with_marked_ellipses(text))
        except ValueError:
            return _difference_of_lines(shown, actual, ids)
        try:
            return _difference_of_values(expected, json.loads(actual), "answer", ids)
        except ValueError:
            return "the answer is not JSON"
    return _difference_of_lines(shown, actual, ids)


def _with_marked_ellipses(text: str) -> str:
    """Return shortened JSON as valid JSON: a member or element named `...` stands for further ones."""
    parts, brackets = [], []
    for token in re.findall(r'"(?:[^"\\]|\\.)*"|\.\.\.|.', text, flags=re.DOTALL):
        if token in ("{", "["):
            brackets.append(token)
        elif token in ("}", "]") and brackets:
            brackets.pop()
        if token == ELLIPSIS and brackets:
            token = f'"{ELLIPSIS}": 0' if brackets[-1] == "{" else f'"{ELLIPSIS}"'
        parts.append(token)
    return "".join(parts)


def _difference_of_values(shown: Any, actual: Any, at: str, ids: Ids) -> str:
    if isinstance(shown, Mapping) and isinstance(actual, Mapping):
        return _difference_of_objects(shown, actual, at, ids)
    if isinstance(shown, list) and isinstance(actual, list):
        return _difference_of_lists(shown, actual, at, ids)
    if isinstance(shown, str) and isinstance(actual, str):
        return "" if _is_alike(shown, actual, ids) else f"{at} is {actual!r}, not {shown!r}"
    if _kind(shown) != _kind(actual) or (isinstance(shown, bool) and shown != actual):
        return f"{at} is {json.dumps(actual)[:80]}, not {json.dumps(shown)[:80]}"
    return ""


def _kind(value: Any) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return "number" if is_number else type(value).__name__


def _difference_of_objects(shown: Mapping[str, Any], actual: Mapping[str, Any], at: str, ids: Ids) -> str:
    names = {name for name in shown if name != ELLIPSIS}
    if missing := names - actual.keys():
        return f"{at} has no {', '.join(sorted(missing))}"
    if ELLIPSIS not in shown and (more := actual.keys() - names):
        return f"{at} also has {', '.join(sorted(more))}"
    found = (
        _difference_of_values(shown[name], actual[name], f"{at}.{name}", ids)
        for name in shown
        if name in names
    )
    return next(filter(None, found), "")


def _difference_of_lists(shown: Sequence[Any], actual: Sequence[Any], at: str, ids: Ids) -> str:
    items = [item for item in shown if item != ELLIPSIS]
    if len(actual) < len(items) or (len(actual) > len(items) and len(items) == len(shown)):
        return f"{at} has {len(actual)} elements, not {len(items)}"
    pairs = enumerate(zip(items, actual, strict=False))
    found = (_difference_of_values(one, other, f"{at}[{index}]", ids) for index, (one, other) in pairs)
    return next(filter(None, found), "")


def _difference_of_lines(shown: Sequence[str], actual: str, ids: Ids) -> str:
    expected = list(filter(normalized, shown))
    lines = list(filter(normalized, actual.splitlines()))
    ends = {0}  # how many lines of the output may be those that the page has shown so far
    for line in expected:
        if line.strip() == ELLIPSIS:
            ends = set(range(min(ends), len(lines) + 1))
        else:
            ends = {end + 1 for end in ends if end < len(lines) and _is_alike(line, lines[end], None)}
        if not ends:
            return f"the output has no such line here: {line}"
    if len(lines) not in ends:
        return "the output goes on after what the page shows"
    return _bind_lines(expected, lines, ids)


def _bind_lines(expected: Sequence[str], lines: Sequence[str], ids: Ids) -> str:
    """Take over the ids of lines that match; what `...` stands for is skipped up to the next such line."""
    rest = iter(lines)
    for shown in expected:
        if shown.strip() != ELLIPSIS:
            line = next(line for line in rest if _is_alike(shown, line, None))
            if not _is_alike(shown, line, ids):
                return f"an id was another one before: {line}"
    return ""


def _is_alike(shown: str, actual: str, ids: Ids | None) -> bool:
    pattern = re.escape(normalized(shown)).replace(re.escape(ELLIPSIS), ".*")
    if not re.fullmatch(pattern, normalized(actual)):
        return False
    if ids is None or ELLIPSIS in shown:
        return True
    return all(_bind(one, other, ids) for one, other in zip(_ids(shown), _ids(actual), strict=True))


def _ids(text: str) -> list[str]:
    """Return the ids of a text: what is one for `normalized`, not the digits behind the point of a number."""
    return [found[0] for found in _PATTERN.finditer(text) if found.lastindex == 1]


def _bind(shown: str, actual: str, ids: Ids) -> bool:
    """Note that an id stands for another, and so does its end; return False if it stands for a third one."""
    ids.setdefault(shown[-8:], actual[-8:])
    return ids.setdefault(shown, actual) == actual


def replace_ids(text: str, ids: Ids) -> str:
    """Return a text with others in place of the ids that it has."""
    return re.sub(_ID, lambda found: ids.get(found[0], found[0]), text)
