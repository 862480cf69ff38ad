"""Where forms lead: only to paths of this site."""

import pytest

from api.web.forms import own_path


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
