import pytest

from api.http.headers import etag, first_header, is_current, job_versions, join_conditions


def test_the_first_header_with_a_name_is_returned() -> None:
    request = {"headers": [(b"host", b"a"), (b"accept", b"b"), (b"host", b"c")]}
    assert first_header(request, b"host") == b"a"
    assert first_header(request, b"origin") is None


@pytest.mark.parametrize("header", ['"3"', 'W/"3"', '"2", "3"', '"2",W/"3"', "*"])
def test_tag_that_the_client_names_is_current(header: str) -> None:
    assert is_current(header, etag(3))


@pytest.mark.parametrize("header", [None, "", '"2"', "3", '"33"'])
def test_tag_that_the_client_does_not_name_is_not_current(header: str | None) -> None:
    assert not is_current(header, etag(3))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("*", None),
        ('"3"', {3}),
        ('"3", "4"', {3, 4}),
        ('"3.1.all_busy"', {3}),
        ('"3.2873465123"', {3}),
        ('W/"3"', set()),
        ("3", set()),
        ('"x"', set()),
        ("", set()),
    ],
)
def test_if_match_names_versions_by_strong_tags(header: str | None, expected: set[int] | None) -> None:
    assert job_versions(header) == expected


def test_lines_of_conditions_are_joined() -> None:
    conditions = [(b"if-none-match", b'"1"'), (b"if-match", b'"3"'), (b"if-none-match", b'"2"')]
    request = {"headers": [(b"host", b"a"), *conditions, (b"cookie", b"x"), (b"cookie", b"y")]}
    join_conditions(request)
    others = [(b"host", b"a"), (b"if-match", b'"3"'), (b"cookie", b"x"), (b"cookie", b"y")]
    assert request["headers"] == [*others, (b"if-none-match", b'"1", "2"')]
