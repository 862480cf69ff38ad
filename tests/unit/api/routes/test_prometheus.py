import httpx
from prometheus_client.parser import text_string_to_metric_families

from shared.db import Database
from tests.factories import submitted


def test_a_scrape_tells_of_jobs_and_requests(client: httpx.Client, database: Database) -> None:
    job_id = submitted(database)
    client.get(f"/v1/jobs/{job_id}")

    answer = client.get("/metrics")

    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = {family.name for family in text_string_to_metric_families(answer.text)}
    assert {"trainshed_jobs", "trainshed_jobs_submitted", "trainshed_http_request_seconds"} <= families
    assert str(job_id) not in answer.text
