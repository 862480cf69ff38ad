"""The files that jobs have made are listed and downloaded, whatever they are."""

from hashlib import sha256
from uuid import UUID

import httpx
import pytest

from shared.db.engine import Database
from shared.formats.results import NewArtifact, Produced
from tests.support import queue_driver

_PAGE = b"<script>alert(1)</script>"


@pytest.fixture
def job_id(database: Database) -> UUID:
    """A job without a model that has made two files."""
    attempt = queue_driver.running(database)
    files = (NewArtifact("report.html", _PAGE, "report", "text/html"), NewArtifact("empty.bin", b""))
    queue_driver.report(database, attempt, Produced(artifacts=files))
    return attempt.job_id


def test_files_are_listed_by_name(client: httpx.Client, job_id: UUID) -> None:
    assert client.get(f"/v1/jobs/{job_id}/artifacts").json()["data"] == [
        {
            "name": "empty.bin",
            "role": "file",
            "media_type": "application/octet-stream",
            "size": 0,
            "sha256": sha256(b"").hexdigest(),
        },
        {
            "name": "report.html",
            "role": "report",
            "media_type": "text/html",
            "size": len(_PAGE),
            "sha256": sha256(_PAGE).hexdigest(),
        },
    ]


def test_a_file_is_sent_as_bytes_to_be_saved(client: httpx.Client, job_id: UUID) -> None:
    path = f"/v1/jobs/{job_id}/artifacts/report.html"

    answer = client.get(path)

    assert answer.content == _PAGE
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="report.html"'
    again = client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(f"/v1/jobs/{job_id}/artifacts/empty.bin").content == b""


def test_a_file_that_is_not_there_is_a_problem_that_lists_those_that_are(
    client: httpx.Client, job_id: UUID, database: Database
) -> None:
    answer = client.get(f"/v1/jobs/{job_id}/artifacts/model.onnx")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/artifact-not-found")
    assert answer.json()["detail"].endswith("its files are empty.bin, report.html")

    queued = queue_driver.submit(database)
    assert client.get(f"/v1/jobs/{queued}/artifacts").json() == {"data": []}
    answer = client.get(f"/v1/jobs/{queued}/artifacts/model.onnx")
    assert answer.json()["detail"].endswith("it has no files")


def test_an_unknown_job_is_not_found(client: httpx.Client) -> None:
    for path in ("", "/model.onnx"):
        answer = client.get(f"/v1/jobs/{UUID(int=7)}/artifacts{path}")
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/job-not-found")
