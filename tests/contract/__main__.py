"""`python -m tests.contract`: thousands of examples against the API on SQLite, and on PostgreSQL.

Each database gets examples of one operation after the other, and then sequences of requests at the same time
on few objects.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from shared.db.engine import Database
from shared.settings import Settings
from tests.contract import campaign
from tests.contract.campaign import Outcome
from tests.support.servers import running_postgres, running_redis

# objects of each kind; every operation draws ids from them
_PER_KIND = 60
_FEW = 3  # so that sequences at the same time meet
_SEEDS = (1, 2, 3)


def main() -> int:
    """Run both campaigns on both databases and print the results; return 1 if a check failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", default="50", help="of each operation")
    parser.add_argument("--sequences", default="30", help="in a row, by each of those at the same time")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_postgres() as server:
        server.execute("CREATE DATABASE other")
        urls = {
            "SQLite": (f"sqlite:///{folder}/one.db", f"sqlite:///{folder}/other.db"),
            "PostgreSQL": (server.url(), server.url("other")),
        }
        passed = []
        for name, (one, other) in urls.items():
            # a Redis for each: kombu has one pool for a URL, which the end of an app closes
            with running_redis() as redis:
                settings = _settings(Path(folder, name), one, redis.url)
                outcome = campaign.run(settings, "--max-examples", arguments.examples, count=_PER_KIND)
            passed.append(_is_sound(f"{name}, one after the other", outcome) and not outcome.unreached)
            with running_redis() as redis:
                settings = _settings(Path(folder, f"{name}-other"), other, redis.url)
                outcome = campaign.run(settings, "-n", arguments.sequences, count=_FEW, seeds=_SEEDS)
            passed.append(_is_sound(f"{name}, at the same time", outcome))
        return int(not all(passed))


def _settings(folder: Path, url: str, redis_url: str) -> Settings:
    """Return the settings of an API with a folder and a database of its own, both of them new."""
    folder.mkdir()
    database = Database(url)
    database.migrate()
    database.dispose()
    return Settings(data_dir=folder, database_url=url, redis_url=redis_url)


def _is_sound(title: str, outcome: Outcome) -> bool:
    sys.stdout.write(f"{outcome.output}\n{title}\n{outcome}\n")
    sys.stdout.write(f"never reached: {', '.join(outcome.unreached) or 'none'}\n")
    sys.stdout.flush()
    return outcome.passed and not outcome.server_errors


if __name__ == "__main__":
    sys.exit(main())
