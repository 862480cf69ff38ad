"""Settings: their defaults, the environment, and the values that are refused."""

from pathlib import Path
from urllib.parse import quote

import pytest
from pydantic import ValidationError
from sqlalchemy import make_url

from shared.settings import ExposedApi, Settings, get_settings, invalid_settings

_SPRITE = '{"images_url": "https://example.org/i.png", "labels_url": "https://example.org/l"}'


def test_the_database_and_redis_are_in_the_data_dir_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings()
    assert settings.data_dir == tmp_path / ".trainshed"
    assert settings.effective_database_url == f"sqlite:///{tmp_path}/.trainshed/trainshed.db"
    assert settings.effective_redis_url == f"unix://{tmp_path}/.trainshed/redis.sock"


def test_environment_overrides_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINSHED_DATABASE_URL", "postgresql+psycopg://db/trainshed")
    monkeypatch.setenv("TRAINSHED_REDIS_URL", "redis://redis:6379/0")
    monkeypatch.setenv("TRAINSHED_QUEUES", "urgent, default")
    settings = Settings()
    assert settings.effective_database_url == "postgresql+psycopg://db/trainshed"
    assert settings.effective_redis_url == "redis://redis:6379/0"
    assert settings.queues == ("urgent", "default")


def test_the_environment_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = get_settings()
    monkeypatch.setenv("TRAINSHED_PORT", "1234")
    assert get_settings() is first


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().__setattr__("port", 1)


def test_every_setting_is_described() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_data_dir_is_made_absolute_and_may_start_at_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Settings(data_dir=Path("~/stack")).data_dir == tmp_path / "stack"


def test_heartbeat_longer_than_a_third_of_the_lease_is_refused() -> None:
    assert Settings(lease_s=3, heartbeat_s=1).heartbeat_s == 1
    with pytest.raises(ValidationError, match=r"HEARTBEAT_S \(1.1\) must be at most a third of LEASE_S"):
        Settings(lease_s=3, heartbeat_s=1.1)


def test_a_socket_path_that_the_kernel_would_refuse_is_refused_unless_redis_url_is_set() -> None:
    longest = Path("/" + "ü" * 47 + "x")  # 96 bytes, with the socket's name 107
    assert Settings(data_dir=longest).data_dir == longest
    longer = Path(f"{longest}x")
    with pytest.raises(ValidationError, match="set DATA_DIR to a shorter path"):
        Settings(data_dir=longer)
    assert Settings(data_dir=longer, redis_url="redis://localhost").data_dir == longer


def test_a_socket_path_with_a_space_is_percent_encoded_in_the_url(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    assert Settings(data_dir=folder).effective_redis_url == f"unix://{tmp_path}/a%20b/redis.sock"


@pytest.mark.parametrize(
    "invalid",
    [
        {"port": 0},
        {"port": 65_536},
        {"rate_limit": -1},
        {"cors_origins": "*"},
        {"cors_origins": "https://example.org/"},
        {"lease_s": 0},
        {"max_lost_attempts": 0},
        {"queues": ()},
        {"queues": ("default", "Not a queue")},
        {"slots": 0},
        {"datasets": {"x": {"images_url": "ftp://example.org/i.png", "labels_url": "file:///l"}}},
        {"datasets": {"x": {"images_url": "file:///i.png"}}},
        {"datasets": {"x": {"images_url": "file:///i", "labels_url": "file:///l", "images_sha256": "abc"}}},
        {"mnist_images_sha256": "0" * 63},
        {"mnist_labels_sha256": "x" * 64},
    ],
    ids=str,
)
def test_invalid_values_are_refused(invalid: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(invalid)


def test_api_keys_are_separated_by_commas_and_absent_from_the_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINSHED_API_KEYS", "the first of our keys, the second of our keys")
    settings = Settings()
    assert [key.get_secret_value() for key in settings.api_keys] == [
        "the first of our keys",
        "the second of our keys",
    ]
    assert "of our keys" not in f"{settings!r} {settings.model_dump_json()}"


def test_a_short_api_key_is_refused_without_repeating_it_in_the_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRAINSHED_API_KEYS", "hunter2")
    with pytest.raises(ValidationError, match="at least 16 characters") as error:
        Settings()
    assert "hunter2" not in str(error.value)


def test_secrets_include_keys_and_passwords_both_percent_encoded_and_decoded() -> None:
    settings = Settings.model_validate(
        {
            "api_keys": "the first of our keys,the second of our keys",
            "api_key": "ts_1_2",
            "database_url": "postgresql+psycopg://me:p%40ss@db/x",
            "redis_url": "redis://:swordfish@redis:6379/0",
        }
    )
    assert set(settings.secrets) == {
        "ts_1_2",
        "the first of our keys",
        "the second of our keys",
        "p%40ss",
        "p@ss",
        "swordfish",
    }
    assert Settings().secrets == ()


def test_secrets_include_passwords_in_the_query_of_a_url() -> None:
    settings = Settings(
        database_url="postgresql+psycopg://db/x?user=me&password=p%40s+s&sslPassword=hunter2",
        redis_url="redis://redis:6379/0?password=swordfish",
    )
    secrets = {"p%40s+s", "p@s+s", "p@s s", "hunter2", "swordfish"}
    assert set(settings.secrets) == secrets


@pytest.mark.parametrize("password", ["p@ss:w/rd%40", "100% ?#[]", "ä"])
def test_a_password_of_its_own_needs_no_quoting_and_is_secret(password: str) -> None:
    settings = Settings.model_validate(
        {
            "database_url": "postgresql+psycopg://me:old@db:5432/x?sslmode=require",
            "database_password": password,
        }
    )
    url = make_url(settings.effective_database_url)
    assert (url.username, url.password, url.host, url.port) == ("me", password, "db", 5432)
    assert (url.database, url.query["sslmode"]) == ("x", "require")
    assert {password, quote(password, safe="")} <= set(settings.secrets)
    assert password not in repr(settings)
    sqlite = Settings.model_validate({"database_url": "sqlite:////a/b.db", "database_password": password})
    assert sqlite.effective_database_url == "sqlite:////a/b.db"


def test_settings_may_be_files_of_secrets_which_the_environment_overrides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trainshed_api_keys").write_text("a secret of the owner's,another secret of hers\n")
    (tmp_path / "trainshed_database_password").write_text("p@ss\n")
    (tmp_path / "trainshed_log_level").write_text("debug")
    monkeypatch.setenv("TRAINSHED_DATABASE_PASSWORD", "")  # as an empty line of an env_file
    monkeypatch.setenv("TRAINSHED_LOG_LEVEL", "error")
    settings = Settings(_secrets_dir=tmp_path)
    assert [key.get_secret_value() for key in settings.api_keys] == [
        "a secret of the owner's",
        "another secret of hers",
    ]
    assert settings.database_password.get_secret_value() == "p@ss"
    assert settings.log_level == "ERROR"


def test_trusted_proxies_are_addresses_and_networks() -> None:
    settings = Settings.model_validate({"trusted_proxies": "10.0.0.0/8, 192.0.2.1,2001:db8::/32"})
    assert settings.trusted_proxies == ("10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32")
    for invalid in ("*", "proxy.example.org"):
        with pytest.raises(ValidationError, match="trusted_proxies"):
            Settings.model_validate({"trusted_proxies": invalid})


def test_configured_datasets_are_added_to_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINSHED_DATASETS", f'{{"fashion": {_SPRITE}}}')
    monkeypatch.setenv("TRAINSHED_MNIST_IMAGES_URL", "file:///mnist.png")
    sprites = Settings().sprites
    assert set(sprites) == {"mnist", "fashion"}
    assert sprites["mnist"].images_url == "file:///mnist.png"
    assert (sprites["fashion"].train_rows, sprites["fashion"].test_rows) == (55_000, 10_000)
    assert len(sprites["fashion"].class_names) == 10


def test_mnist_has_checksums_only_if_they_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    mnist = Settings().sprites["mnist"]
    assert (mnist.images_sha256, mnist.labels_sha256) == ("", "")

    monkeypatch.setenv("TRAINSHED_MNIST_IMAGES_SHA256", "AB" * 32)
    monkeypatch.setenv("TRAINSHED_MNIST_LABELS_SHA256", "0" * 64)
    mnist = Settings().sprites["mnist"]
    assert (mnist.images_sha256, mnist.labels_sha256) == ("AB" * 32, "0" * 64)


def test_an_api_that_other_hosts_can_reach_needs_a_key() -> None:
    for host in ("127.0.0.1", "::1", "localhost"):
        Settings(host=host).require_guarded()
    for host in ("0.0.0.0", "::", "10.0.0.1", "example.org"):
        Settings.model_validate({"host": host, "api_keys": "x" * 16}).require_guarded()
        with pytest.raises(ExposedApi, match="TRAINSHED_API_KEYS"):
            Settings(host=host).require_guarded()


@pytest.mark.parametrize("level", ["debug", "INFO", "Warning"])
def test_the_case_of_the_log_level_does_not_matter(level: str) -> None:
    assert Settings.model_validate({"log_level": level}).log_level == level.upper()


def test_each_invalid_setting_is_named_with_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINSHED_LOG_LEVEL", "LOUD")
    monkeypatch.setenv("TRAINSHED_API_KEYS", "secret")
    with pytest.raises(ValidationError) as error:
        Settings()
    keys, level = invalid_settings(error.value)
    assert level.startswith("TRAINSHED_LOG_LEVEL: must be DEBUG, INFO, ")
    assert keys.startswith("TRAINSHED_API_KEYS: each needs at least 16 characters")
