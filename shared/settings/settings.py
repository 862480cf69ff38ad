"""Every setting with its default, read from the environment by this package and nowhere else."""

from functools import cache
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.addresses import is_loopback, passwords, with_password
from shared.schemas import QUEUE_PATTERN
from shared.schemas.sprite_sources import FILE_URL, Sha256, SpriteSource

_SECRETS = Path("/run/secrets")
_ORIGIN = r"^https?://[^/\s]+$"
_MIN_KEY_LENGTH = 16  # a shorter secret can be guessed
_MAX_SOCKET_PATH_BYTES = 107  # the kernel's limit for the path of a UNIX socket is 108 with the closing NUL

_MNIST = "https://storage.googleapis.com/learnjs-data/model-builder"

_Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
LogLevel = Annotated[_Level, BeforeValidator(lambda level: str(level).upper())]
"""A level of Python's `logging`, in upper or lower case."""


def _network(text: str) -> str:
    return str(ip_network(text, strict=False))


class ExposedApi(ValueError):
    """Other hosts could reach the API, and it would require no key."""


class Settings(BaseSettings):
    """Settings of one process; each is read from the variable `TRAINSHED_` and its name in capitals.

    If the variable is missing or empty, it is read from a file of the same name in /run/secrets, where
    containers have their secrets. The text below each setting is its description in `docs/operations.md`.
    """

    model_config = SettingsConfigDict(
        env_prefix="TRAINSHED_",
        env_ignore_empty=True,
        secrets_dir=_SECRETS if _SECRETS.is_dir() else None,
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    data_dir: Path = Path(".trainshed")
    """Folder for the dataset cache, the embedded Redis and SQLite database, and the local stack's logs. A
    relative path starts at the folder in which the process is started. All processes of a local stack need
    the same one."""
    database_url: str = ""
    """SQLAlchemy URL of the database: `postgresql+psycopg://user:password@host/name` or `sqlite:///path`.
    Empty: an SQLite file in `DATA_DIR`, which is for one host only; several hosts need PostgreSQL."""
    database_password: SecretStr = SecretStr("")
    """Password for `DATABASE_URL`, as it is: nothing in it is percent-encoded. Empty: the one in the URL."""
    redis_url: str = ""
    """URL of Redis: `redis://:password@host:port/db` or `unix:///path`. Empty: the socket of the embedded
    Redis in `DATA_DIR`, which is for one host only."""

    mnist_images_url: str = Field(default=f"{_MNIST}/mnist_images.png", pattern=FILE_URL)
    """Address of the images of the dataset `mnist` (`http(s)://` or `file://`): a PNG of 784 columns, one
    28x28 image a row. Change it to use a mirror or a local copy."""
    mnist_labels_url: str = Field(default=f"{_MNIST}/mnist_labels_uint8", pattern=FILE_URL)
    """Address of the labels of the dataset `mnist`: ten bytes an image, 1 at the image's class and 0
    elsewhere. Change it together with `MNIST_IMAGES_URL`."""
    mnist_images_sha256: Sha256 = ""
    """SHA-256 checksum, 64 hexadecimal digits, that the file at `MNIST_IMAGES_URL` must have; jobs fail with
    `data_corrupt` if it has another. Empty: any. Set it to be sure that the file never changes."""
    mnist_labels_sha256: Sha256 = ""
    """SHA-256 checksum that the file at `MNIST_LABELS_URL` must have, as for `MNIST_IMAGES_SHA256`."""
    datasets: dict[str, SpriteSource] = Field(default_factory=dict)
    """More sprite datasets by name, as a JSON object: `{"fashion": {"images_url": "...", "labels_url":
    "..."}}`. Each may also have `images_sha256`, `labels_sha256`, `train_rows` (55000), `test_rows` (10000)
    and `class_names` (ten). The API and all workers need the same ones."""
    download_timeout_s: float = Field(default=30.0, gt=0)
    """Seconds without data, or with less than 1,000 bytes a second, after which a dataset's download is
    broken off and retried. Increase it where a server or proxy is slow to respond."""
    download_attempts: int = Field(default=3, ge=1)
    """Number of times that a dataset's file is requested before the job's attempt fails with
    `data_unavailable`; 0.25 s to 5 s pass in between."""
    download_deadline_s: float = Field(default=600.0, gt=0)
    """Seconds after which a job's attempt no longer waits for its dataset, whether it downloads it or waits
    until another process has, and fails with `data_unavailable`. Increase it where downloads take longer."""
    data_outage_s: float = Field(default=900.0, ge=0)
    """Seconds for which a job whose dataset is unavailable is retried without counting these failures, from
    the first one on. Then they count, as others do. 0, as in a local stack: they count at once."""

    host: str = "127.0.0.1"
    """Address that the API listens on. The default can be reached from its own host only; `0.0.0.0` means all
    network interfaces, and requires `API_KEYS`."""
    port: int = Field(default=8000, ge=1, le=65_535)
    """TCP port that the API listens on."""
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """Administrators' keys, separated by commas, of at least 16 characters each, such as the output of
    `openssl rand -hex 32`; other keys are created with them. Required if `HOST` is not a loopback address."""
    read_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """More keys like `API_KEYS`, which can only read: for Prometheus and for autoscalers."""
    url: str = ""
    """The server that the command line and the Python client use, such as `https://trainshed.example.org`;
    `--url` overrides it. Empty: the API of these settings on this host."""
    api_key: SecretStr = SecretStr("")
    """The key that the command line and the Python client send."""
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Host names, separated by commas, that requests to the API may use besides `localhost` and `HOST`.
    Empty: no others if `HOST` is a loopback address, else any."""
    cors_origins: Annotated[tuple[Annotated[str, Field(pattern=_ORIGIN)], ...], NoDecode] = ()
    """Origins of other web sites whose pages may use the API, such as `https://example.org`, separated by
    commas. Empty: none."""
    trusted_proxies: Annotated[tuple[Annotated[str, AfterValidator(_network)], ...], NoDecode] = ()
    """Addresses and networks of reverse proxies, such as `10.0.0.0/8`, separated by commas, whose
    `X-Forwarded-For` says where a request comes from: rate limits then count its sender's address, not the
    proxy's. Empty: none."""
    rate_limit: float = Field(default=100.0, ge=0)
    """Requests per second that all API processes together accept for one key, for one address without a key,
    and for one address with invalid keys; ten seconds' worth may come at once. Without Redis each process
    limits by itself. 0: no limit."""

    webhooks_allow_private: bool = False
    """Whether webhooks may be sent to internal addresses, such as those of this host and of private networks.
    Only where every administrator may reach them."""

    lease_s: float = Field(default=30.0, gt=0)
    """Seconds for which a worker keeps a job without renewing its lease. The job of a worker that was killed
    returns to the queue after this time. Decrease it to recover sooner; increase it where workers or the
    database may stall for longer."""
    heartbeat_s: float = Field(default=10.0, gt=0)
    """Seconds between two renewals of the leases of a worker's jobs; at most a third of `LEASE_S`, so that a
    failed renewal can be repeated in time."""
    cancel_poll_s: float = Field(default=0.5, gt=0)
    """Seconds between two checks of a worker's running jobs for cancel requests and preemptions, and of the
    worker for a drain request. Each check is one query of the worker: increase it to relieve the database."""
    reconcile_s: float = Field(default=5.0, gt=0)
    """Seconds between two rounds of each worker's reconciler, which requeues jobs of lost workers, and wakes
    the worker's free slots for jobs that wait although Redis has lost their messages."""
    no_progress_s: float = Field(default=600.0, gt=0)
    """Seconds without a completed step after which a running job counts as hung: it fails with `timeout`, and
    its process is replaced."""
    max_lost_attempts: int = Field(default=3, ge=1)
    """Number of attempts lost with their worker or process since a job's last recorded epoch, after which it
    fails with `worker_lost`; ten times as many in all. One lost with its machine counts only in all."""
    worker_retention_s: float = Field(default=86_400.0, gt=0)
    """Seconds for which a worker that has stopped or was lost stays listed: less where they come and go."""
    job_retention_s: float = Field(default=0.0, ge=0)
    """Seconds after its end for which a job is kept, with its events, metrics, log, evaluation and model. It
    stays longer while its model has an alias, or was evaluated by another job that is kept. 0: for ever."""
    model_retention_s: float = Field(default=0.0, ge=0)
    """Seconds after the end of a job for which its files, most of what it stores, and the weights of its
    epochs are kept; longer while its model has an alias, or was evaluated by another job. 0: for ever."""
    log_retention_s: float = Field(default=0.0, ge=0)
    """Seconds after its end for which the log of a job is kept. 0: for ever."""
    idempotency_retention_s: float = Field(default=30 * 86_400.0, ge=0)
    """Seconds after the end of its job for which an idempotency key is kept, and if the job was deleted,
    after the request: one that is repeated later submits another job. 0: for ever."""

    urgent_head_start_s: float = Field(default=86_400.0, ge=0)
    """Seconds by which `urgent` jobs are ahead of `normal` ones, of waiting and of what tenants used."""
    high_head_start_s: float = Field(default=3_600.0, ge=0)
    """Seconds by which `high` jobs are ahead of `normal` ones."""
    low_delay_s: float = Field(default=3_600.0, ge=0)
    """Seconds by which `low` jobs are behind `normal` ones."""
    max_passed_s: float = Field(default=7 * 86_400.0, gt=0)
    """Seconds for which a tenant that waits may be passed. Increase it where jobs wait for longer."""
    min_run_s: float = Field(default=60.0, ge=0)
    """Seconds for which a job that has given its slot to an `urgent` one runs before it does so again."""

    queues: Annotated[tuple[Annotated[str, Field(pattern=QUEUE_PATTERN)], ...], NoDecode] = Field(
        default=("default",), min_length=1
    )
    """Queues that a worker serves, separated by commas. The API lists these queues even before they are
    used."""
    slots: int = Field(default=1, ge=1)
    """Number of jobs that a worker on a host without GPUs runs at the same time."""
    slots_per_gpu: int = Field(default=1, ge=1)
    """Number of jobs that a worker runs at the same time on each GPU. Increase it while jobs leave the GPU
    partly idle; each needs memory of its own."""
    require_gpu: bool = False
    """Whether a worker refuses to start without a GPU that TensorFlow can use. `False`: it trains on the CPU
    then."""
    deterministic: bool = True
    """Whether jobs with the same spec and seed give identical bits on the same device and versions. `False`
    trains faster on a GPU."""
    executor: str = "workers.mnist.executor:MnistExecutor"
    """Class that runs jobs, as `module:class`. Only tests use another."""
    health_file: str = ""
    """Path of a file that a worker touches at least each `RECONCILE_S` seconds while it can train: its pool
    processes are ready, and the database answers. It deletes the file when that is not so. Empty: none."""
    pod: str = Field(default="", pattern=r"^([a-z0-9.-]+/[a-z0-9.-]+)?$")
    """Kubernetes Pod of a worker, as `namespace/name`: the worker writes into it how many jobs it runs, so
    that idle Pods are removed first. Empty: none."""
    log_level: LogLevel = "INFO"
    """Least severe level that is logged: `DEBUG`, `INFO`, `WARNING`, `ERROR` or `CRITICAL`."""

    @field_validator("api_keys", "read_keys")
    @classmethod
    def _long_enough(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(key) < _MIN_KEY_LENGTH for key in value):
            raise ValueError(f"each needs at least {_MIN_KEY_LENGTH} characters: try `openssl rand -hex 32`")
        return value

    # it runs before `_long_enough`, whose errors then never contain the keys as text
    @field_validator(
        "queues", "api_keys", "read_keys", "allowed_hosts", "cors_origins", "trusted_proxies", mode="before"
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        # other processes of the stack, which may run in other folders, get this value
        return value.expanduser().absolute()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.heartbeat_s > self.lease_s / 3:
            raise ValueError(
                f"HEARTBEAT_S ({self.heartbeat_s:g}) must be at most a third of LEASE_S ({self.lease_s:g}), "
                "or one failed renewal loses the lease: decrease HEARTBEAT_S or increase LEASE_S"
            )
        if not self.redis_url and len(bytes(self.redis_socket)) > _MAX_SOCKET_PATH_BYTES:
            raise ValueError(
                f"the path of Redis's socket, {self.redis_socket}, is longer than {_MAX_SOCKET_PATH_BYTES} "
                "bytes: set DATA_DIR to a shorter path"
            )
        return self

    def require_guarded(self) -> None:
        """Refuse to serve an API that other hosts can reach without a key.

        Raises:
            ExposedApi: `host` is not a loopback address, and `api_keys` is empty.
        """
        if not self.api_keys and not is_loopback(self.host):
            raise ExposedApi(
                f"HOST is {self.host}, which other hosts can reach, and there is no key: set "
                "TRAINSHED_API_KEYS to a secret, such as the output of `openssl rand -hex 32`, or "
                "TRAINSHED_HOST to 127.0.0.1"
            )

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that no log may contain: keys, and the passwords in URLs, both quoted and unquoted."""
        secrets = [key.get_secret_value() for key in (self.api_key, *self.api_keys, *self.read_keys)]
        secrets.append(self.database_password.get_secret_value())
        for url in (self.effective_database_url, self.redis_url, self.url):
            secrets += passwords(url)
        return tuple(dict.fromkeys(filter(None, secrets)))

    @property
    def redis_socket(self) -> Path:
        """Path of the embedded Redis's UNIX socket."""
        return self.data_dir / "redis.sock"

    @property
    def effective_database_url(self) -> str:
        """`database_url` with its password, or by default the URL of the SQLite file in `data_dir`."""
        if not self.database_url:
            return f"sqlite:///{self.data_dir / 'trainshed.db'}"
        password = self.database_password.get_secret_value()
        return with_password(self.database_url, password) if password else self.database_url

    @property
    def effective_redis_url(self) -> str:
        """`redis_url`, or by default the URL of the embedded Redis's socket."""
        return self.redis_url or f"unix://{quote(str(self.redis_socket))}"

    @property
    def sprites(self) -> dict[str, SpriteSource]:
        """The sprite datasets by name: `mnist`, and those of `datasets`."""
        mnist = SpriteSource(
            images_url=self.mnist_images_url,
            labels_url=self.mnist_labels_url,
            images_sha256=self.mnist_images_sha256,
            labels_sha256=self.mnist_labels_sha256,
        )
        return {"mnist": mnist, **self.datasets}


@cache
def get_settings() -> Settings:
    """Return the settings of this process, which are read from the environment once."""
    return Settings()
