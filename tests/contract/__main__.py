"""`python -m tests.contract`: thousands of examples against the API on SQLite, and on PostgreSQL."""

import sys
import tempfile
from pathlib import Path

from shared.db.engine import Database
from shared.settings import Settings
from tests.contract import campaign
from tests.support.servers import running_postgres, running_redis

# objects of each kind; every operation draws ids from them
_OPTIONS = ("--seed", "1", "--max-examples", "60")
_PER_KIND = 60


def main() -> int:
    """Run the campaign on both databases and print the results; return 1 if a check failed."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_redis() as redis,
        running_postgres() as server,
    ):
        urls = {"SQLite": f"sqlite:///{folder}/trainshed.db", "PostgreSQL": server.url()}
        passed = [_run(Path(folder, name), name, url, redis.url) for name, url in urls.items()]
        return int(not all(passed))


def _run(folder: Path, name: str, url: str, redis_url: str) -> bool:
    folder.mkdir()
    database = Database(url)
    database.migrate()
    database.dispose()
    settings = Settings(data_dir=folder, database_url=url, redis_url=redis_url)
    outcome = campaign.run(settings, *_OPTIONS, count=_PER_KIND)
    sys.stdout.write(f"{outcome.output}\n{name}\n{outcome}\n")
    sys.stdout.write(f"never reached: {', '.join(outcome.unreached) or 'none'}\n")
    sys.stdout.flush()
    return outcome.passed and not outcome.unreached and not outcome.server_errors


if __name__ == "__main__":
    sys.exit(main())
