"""Responses that are files: tags, caching, and their description."""

from hashlib import sha256

import pytest

from api.http.files import documented_file, file_headers, file_response, unchanged

CONTENT = b"some bytes"
TAG = f'"{sha256(CONTENT).hexdigest()}"'


def test_a_file_is_tagged_by_its_digest() -> None:
    response = file_response(CONTENT, None)

    assert (response.status_code, response.body) == (200, CONTENT)
    assert response.headers["ETag"] == TAG
    assert response.media_type == "application/octet-stream"


@pytest.mark.parametrize("if_none_match", [TAG, f"W/{TAG}", f'"other", {TAG}', "*"])
def test_a_client_that_has_the_file_gets_the_headers_only(if_none_match: str) -> None:
    response = file_response(CONTENT, if_none_match)

    assert (response.status_code, response.body) == (304, b"")
    assert response.headers["ETag"] == TAG


def test_a_client_that_has_another_file_gets_this_one() -> None:
    assert file_response(CONTENT, '"other"').status_code == 200
    assert unchanged('"other"', file_headers("1", is_lasting=False)) is None


@pytest.mark.parametrize(
    ("is_lasting", "caching"),
    [(True, "private, max-age=31536000, immutable"), (False, "private, no-cache")],
)
def test_only_a_lasting_file_is_kept_without_asking_again(is_lasting: bool, caching: str) -> None:
    headers = file_headers("1", is_lasting=is_lasting)

    assert headers == {"ETag": '"1"', "Cache-Control": caching, "Vary": "Origin"}


def test_a_file_is_documented_with_its_media_type() -> None:
    documented = documented_file("A picture", "image/png")

    assert documented[200]["content"] == {"image/png": {"schema": {"type": "string", "format": "binary"}}}
    assert 304 in documented
