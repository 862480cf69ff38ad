"""The one place that reads the environment: every setting, frozen, with its default."""

import os
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import quote, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.schemas import QUEUE_PATTERN

_URL = r"^(https?|file)://"
_MNIST = "https://storage.googleapis.com/learnjs-data/model-builder"

_ORIGIN = r"^https?://[^/\s]+$"
_KEY_LENGTH = 16  # below it, a secret can be guessed

# The kernel's limit for the path of a UNIX socket is 108 bytes with the closing NUL.
_SOCKET_PATH_LIMIT = 107


class ExposedApi(ValueError):
    """The API would listen where anyone may reach it, and ask for no key."""


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

    model_config = SettingsConfigDict(
        env_prefix="TRAINSHED_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

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
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(),
        description=f"Secrets of at least {_KEY_LENGTH} characters, with commas between them, that may do "
        "all: the first keys, from which others are made. Needed where `HOST` is not loopback.",
    )
    api_key: SecretStr = Field(
        default=SecretStr(""), description="The key that the command line and the Python client show the API."
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Names under which the API is asked besides this host's own, with commas between them; "
        "empty: any where `HOST` is not loopback.",
    )
    cors_origins: Annotated[tuple[Annotated[str, Field(pattern=_ORIGIN)], ...], NoDecode] = Field(
        default=(),
        description="Other web sites whose pages may use the API, such as `https://example.org`, with commas "
        "between them.",
    )
    rate_limit: float = Field(
        default=100.0,
        ge=0,
        description="Requests a second that one key may make, or one address without a valid one; ten "
        "seconds' worth at once. 0: no limit.",
    )

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

    queues: Annotated[tuple[Annotated[str, Field(pattern=QUEUE_PATTERN)], ...], NoDecode] = Field(
        default=("default",),
        min_length=1,
        description="The queues a worker serves, with commas between them.",
    )
    slots: int = Field(default=1, ge=1, description="Jobs that one worker runs at once where it has no GPU.")
    slots_per_gpu: int = Field(default=1, ge=1, description="Jobs that one worker runs at once on each GPU.")
    deterministic: bool = Field(
        default=True, description="Same seed, same device: same bits. Costs some speed on a GPU."
    )
    executor: str = Field(
        default="workers.mnist.executor:MnistExecutor",
        description="What runs a job, as `module:class`; another class is for tests.",
    )
    log_level: str = Field(default="INFO", description="The least important level that is logged.")

    @field_validator("api_keys")
    @classmethod
    def _long_enough(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(key) < _KEY_LENGTH for key in value):
            raise ValueError(f"each needs at least {_KEY_LENGTH} characters: try `openssl rand -hex 32`")
        return value

    # after _long_enough, so that an error of it names no key: it is given what this made of the text
    @field_validator("queues", "api_keys", "allowed_hosts", "cors_origins", mode="before")
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
    def _renamed(self) -> Self:
        if "TRAINSHED_TRAINER" in os.environ:  # noqa: TID251 (this is the module that reads it)
            raise ValueError("TRAINSHED_TRAINER has a new name: set TRAINSHED_EXECUTOR instead")
        return self

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

    def require_guarded(self) -> None:
        """Refuse to serve an API that others than this host's own programs reach, and that asks for no key.

        Raises:
            ExposedApi: it would be so.
        """
        if not self.api_keys and not is_loopback(self.host):
            raise ExposedApi(
                f"HOST is {self.host}, which others reach, and no key is set: set TRAINSHED_API_KEYS to a "
                "secret, such as the output of `openssl rand -hex 32`, or TRAINSHED_HOST to 127.0.0.1"
            )

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every text that must be told to nobody: keys, and the passwords in addresses."""
        keys = (key.get_secret_value() for key in (self.api_key, *self.api_keys))
        passwords = (urlsplit(url).password or "" for url in (self.database_url, self.redis_url))
        known = [*keys, *passwords]
        return tuple(dict.fromkeys(one for secret in known for one in (secret, unquote(secret)) if one))

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


def is_loopback(host: str) -> bool:
    """Whether only this host's own programs reach that address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
