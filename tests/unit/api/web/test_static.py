"""Static files: an address that changes with their content, kept for ever, compressed."""

import gzip
from pathlib import Path

import httpx
import pytest

from api.web.static import read_files, static_files
from tests.support.paths import ROOT


def test_the_address_changes_with_any_file(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("a {}")
    (tmp_path / "b.js").write_text("b()")
    first = read_files(tmp_path)
    (tmp_path / "b.js").write_text("c()")

    assert first.address("a.css") != read_files(tmp_path).address("a.css")
    assert first.address("a.css").rpartition("/")[0] == first.address("b.js").rpartition("/")[0]
    with pytest.raises(KeyError):
        first.address("missing.js")


@pytest.mark.parametrize("name", sorted(static_files().files))
def test_a_file_is_sent_compressed_to_who_accepts_that(client: httpx.Client, name: str) -> None:
    file, address = static_files().files[name], static_files().address(name)

    plain = client.get(address, headers={"Accept-Encoding": "identity"})
    assert plain.content == file.content == gzip.decompress(file.compressed)
    assert plain.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert plain.headers["Content-Type"].startswith(file.media_type)
    compressed = client.get(address, headers={"Accept-Encoding": "gzip"})
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert int(compressed.headers["Content-Length"]) == len(file.compressed)
    assert compressed.content == file.content


def test_a_file_that_is_known_is_not_sent_again(client: httpx.Client) -> None:
    address = static_files().address("style.css")
    tag = client.get(address).headers["ETag"]

    assert client.get(address, headers={"If-None-Match": tag}).status_code == 304


@pytest.mark.parametrize(
    "path", ["/static/000000000000/style.css", f"/static/{static_files().digest}/none.js"]
)
def test_a_file_of_another_version_is_not_found(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404


def test_every_module_of_our_own_has_at_most_300_lines() -> None:
    lengths = {
        name: file.content.count(b"\n") for name, file in static_files().files.items() if name.endswith(".js")
    }
    assert {name: length for name, length in lengths.items() if length > 300} == {}


def test_each_block_of_the_stylesheet_is_closed_before_the_next_section() -> None:
    depth = 0
    for line in (ROOT / "api/web/static/style.css").read_text().splitlines():
        assert not (line.startswith(("/*", "@", ".")) and depth), line
        depth += line.count("{") - line.count("}")
    assert depth == 0
