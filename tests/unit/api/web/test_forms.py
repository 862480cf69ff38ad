"""What forms contain, and where they lead: only to paths of this site."""

from typing import Any

import pytest

from api.web.forms import number, own_path, texts


@pytest.mark.parametrize(
    ("text", "value"),
    [("", None), (" 4 ", 4), ("-1", -1), ("2.5", 2.5), ("1e-3", 0.001), ("four", "four"), ("9" * 20, 1e20)],
)
def test_a_field_has_a_number_or_nothing_or_what_the_schema_refuses(text: str, value: Any) -> None:
    found = number(text)

    assert (found, type(found)) == (value, type(value))


def test_texts_are_separated_by_commas() -> None:
    assert texts(" a b, c,,") == ["a b", "c"]


@pytest.mark.parametrize("path", ["/", "/jobs?state=running&q=a%20b", "/jobs/1#part"])
def test_a_path_of_this_site_is_accepted(path: str) -> None:
    assert own_path(path) == path


@pytest.mark.parametrize(
    "target",
    [
        *("", "jobs", "//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)"),
        *("/\n/evil.example", "\\\\evil.example", "/\t/evil.example", "//[", " /jobs"),
    ],
)
def test_a_target_elsewhere_becomes_the_overview(target: str) -> None:
    assert own_path(target) == "/"
