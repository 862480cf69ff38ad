import pytest

from api.http.headers import etag, is_known, versions


@pytest.mark.parametrize("header", ['"3"', 'W/"3"', '"2", "3"', '"2",W/"3"', "*"])
def test_a_tag_that_the_client_names_is_known(header: str) -> None:
    assert is_known(header, etag(3))


@pytest.mark.parametrize("header", [None, "", '"2"', "3", '"33"'])
def test_any_other_header_does_not_name_the_tag(header: str | None) -> None:
    assert not is_known(header, etag(3))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("*", None),
        ('"3"', {3}),
        ('"3", "4"', {3, 4}),
        ('"3.1.all_busy"', {3}),
        ('W/"3"', set()),
        ("3", set()),
        ('"x"', set()),
        ("", set()),
    ],
)
def test_an_if_match_names_versions_by_strong_tags(header: str | None, expected: set[int] | None) -> None:
    assert versions(header) == expected
