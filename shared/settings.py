"""The one place that reads the environment: every setting, frozen, with its default."""

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

_URL = r"^(https?|file)://"
_MNIST = "https://storage.googleapis.com/learnjs-data/model-builder"

# The kernel's limit for the path of a UNIX socket is 108 bytes with the closing NUL.
_SOCKET_PATH_LIMIT = 107


class SpriteSource(BaseModel):
    """Where a sprite dataset lies, and how its rows divide.

    Attributes:
        images_url: `http(s)://` or `file://`: a PNG with one 28x28 image a row, 784 columns.
        labels_url: one-hot labels, `classes` bytes of 0 or 1 a row.
        train_rows: the first rows of the sprite, for training.
        test_rows: the rows after them, for validation and evaluation.
        class_names: what people call each class, in label order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images_url: str = Field(pattern=_URL)
    labels_url: str = Field(pattern=_URL)
    train_rows: int = Field(default=55_000, ge=1)
    test_rows: int = Field(default=10_000, ge=2)
    class_names: tuple[str, ...] = Field(
        default=("Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine"),
        min_length=10,
        max_length=10,
    )


class Settings(BaseSettings):
    """Every setting of Trainshed; each is read from `TRAINSHED_` and its name in capitals.

    `docs/operations.md` lists them for people.
    """

    model_config = SettingsConfigDict(env_prefix="TRAINSHED_", frozen=True, extra="ignore")

    data_dir: Path = Field(
        default=Path(".trainshed"),
        description="Where the embedded servers and the dataset cache keep their files.",
    )
    database_url: str = Field(
        default="",
        description="SQLAlchemy URL of the database: `sqlite:///...` or `postgresql+psycopg://...`. "
        "Empty: SQLite under `DATA_DIR`.",
    )
    redis_url: str = Field(
        default="",
        description="Redis: `redis://host:port/db` or `unix:///path`. Empty: the embedded one's socket under "
        "`DATA_DIR`.",
    )

    mnist_images_url: str = Field(
        default=f"{_MNIST}/mnist_images.png", pattern=_URL, description="The MNIST sprite."
    )
    mnist_labels_url: str = Field(
        default=f"{_MNIST}/mnist_labels_uint8", pattern=_URL, description="Its one-hot labels."
    )
    datasets: dict[str, SpriteSource] = Field(
        default_factory=dict,
        description="More sprite datasets, as JSON: "
        '`{"fashion": {"images_url": "...", "labels_url": "..."}}`.',
    )
    download_timeout_s: float = Field(
        default=30.0,
        gt=0,
        description="Seconds without a byte after which a download is given up and retried.",
    )
    download_attempts: int = Field(default=3, ge=1, description="How often one download is tried.")

    host: str = Field(default="127.0.0.1", description="The address that the API listens on.")
    port: int = Field(default=8000, ge=1, le=65_535, description="The port that the API listens on.")

    lease_s: float = Field(
        default=30.0, gt=0, description="Seconds for which a worker may run a job without renewing its lease."
    )
    heartbeat_s: float = Field(
        default=10.0,
        gt=0,
        description="Seconds between two renewals of a lease; at most a third of `LEASE_S`.",
    )
    cancel_poll_s: float = Field(
        default=0.5, gt=0, description="Seconds between two looks for a cancel request while a job runs."
    )
    reconcile_s: float = Field(default=5.0, gt=0, description="Seconds between two rounds of the reconciler.")
    redispatch_s: float = Field(
        default=8.0,
        gt=0,
        description="Seconds after which a dispatched job that nobody claimed counts as lost by the broker.",
    )
    no_progress_s: float = Field(
        default=600.0,
        gt=0,
        description="Seconds without a finished step after which an attempt counts as hung.",
    )
    max_crashes: int = Field(
        default=3, ge=1, description="How many workers a job may lose before it ends `failed`, `worker_lost`."
    )

    queues: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("default",),
        min_length=1,
        description="The queues a worker serves, with commas between them.",
    )
    slots: int = Field(default=1, ge=1, description="Jobs that one worker runs at once where it has no GPU.")
    slots_per_gpu: int = Field(default=1, ge=1, description="Jobs that one worker runs at once on each GPU.")
    deterministic: bool = Field(
        default=True, description="Same seed, same device: same bits. Costs some speed on a GPU."
    )
    trainer: str = Field(
        default="workers.mnist.executor:Executor",
        description="What runs a job, as `module:class`; another class is for tests.",
    )
    log_level: str = Field(default="INFO", description="The least important level that is logged.")

    @field_validator("queues", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        # processes of one stack must agree on it, whatever folder each was started in
        return value.expanduser().absolute()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.heartbeat_s > self.lease_s / 3:
            raise ValueError(
                f"HEARTBEAT_S ({self.heartbeat_s:g}) must be at most a third of LEASE_S ({self.lease_s:g}), "
                "or one slow renewal loses the lease"
            )
        if not self.redis_url and len(bytes(self.redis_socket)) > _SOCKET_PATH_LIMIT:
            raise ValueError(
                f"the path of Redis's socket, {self.redis_socket}, is longer than {_SOCKET_PATH_LIMIT} "
                "bytes: set DATA_DIR to a shorter path"
            )
        return self

    @property
    def redis_socket(self) -> Path:
        """The embedded Redis's socket."""
        return self.data_dir / "redis.sock"

    @property
    def effective_database_url(self) -> str:
        """`database_url`, or that of the SQLite file under `data_dir`."""
        return self.database_url or f"sqlite:///{self.data_dir / 'trainshed.db'}"

    @property
    def effective_redis_url(self) -> str:
        """`redis_url`, or that of the embedded Redis's socket."""
        return self.redis_url or f"unix://{quote(str(self.redis_socket))}"

    @property
    def sprites(self) -> dict[str, SpriteSource]:
        """The sprite datasets by name: `mnist`, and what the owner added."""
        mnist = SpriteSource(images_url=self.mnist_images_url, labels_url=self.mnist_labels_url)
        return {"mnist": mnist, **self.datasets}


@cache
def get_settings() -> Settings:
    """The process's settings, read from the environment once."""
    return Settings()
