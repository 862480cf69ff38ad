from api.services import open_services
from shared.settings import Settings
from shared.store import job_lists


def test_services_use_the_settings_database(settings: Settings, database_url: str) -> None:
    with open_services(settings.model_copy(update={"database_url": database_url})) as services:
        assert services.database.read(job_lists.counts).total == 0


def test_services_are_closed_at_the_end(settings: Settings, database_url: str) -> None:
    with open_services(settings.model_copy(update={"database_url": database_url})) as services:
        services.database.read(job_lists.counts)
        before = services.database.engine.pool.status()

    assert services.database.engine.pool.status() != before
