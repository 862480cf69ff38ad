"""What the environment may say."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from shared.settings import Settings, get_settings

_SPRITE = '{"images_url": "https://example.org/i.png", "labels_url": "https://example.org/l"}'


def test_without_an_environment_the_stack_lives_under_one_folder(
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


def test_data_dir_is_absolute_and_knows_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Settings(data_dir=Path("~/stack")).data_dir == tmp_path / "stack"


def test_heartbeat_longer_than_a_third_of_the_lease_is_refused() -> None:
    assert Settings(lease_s=3, heartbeat_s=1).heartbeat_s == 1
    with pytest.raises(ValidationError, match=r"HEARTBEAT_S \(1.1\) must be at most a third of LEASE_S"):
        Settings(lease_s=3, heartbeat_s=1.1)


def test_socket_path_that_the_kernel_would_refuse_is_refused_unless_another_redis_is_named() -> None:
    longest = Path("/" + "ü" * 47 + "x")  # 96 bytes, with the socket's name 107
    assert Settings(data_dir=longest).data_dir == longest
    longer = Path(f"{longest}x")
    with pytest.raises(ValidationError, match="set DATA_DIR to a shorter path"):
        Settings(data_dir=longer)
    assert Settings(data_dir=longer, redis_url="redis://localhost").data_dir == longer


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 0},
        {"port": 65_536},
        {"lease_s": 0},
        {"max_crashes": 0},
        {"queues": ()},
        {"slots": 0},
        {"datasets": {"x": {"images_url": "ftp://example.org/i.png", "labels_url": "file:///l"}}},
        {"datasets": {"x": {"images_url": "file:///i.png"}}},
    ],
    ids=str,
)
def test_senseless_values_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(wrong)


def test_owner_adds_sprites_beside_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINSHED_DATASETS", f'{{"fashion": {_SPRITE}}}')
    monkeypatch.setenv("TRAINSHED_MNIST_IMAGES_URL", "file:///mnist.png")
    sprites = Settings().sprites
    assert set(sprites) == {"mnist", "fashion"}
    assert sprites["mnist"].images_url == "file:///mnist.png"
    assert (sprites["fashion"].train_rows, sprites["fashion"].test_rows) == (55_000, 10_000)
    assert len(sprites["fashion"].class_names) == 10


def test_socket_path_with_a_blank_is_quoted_in_the_url(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    assert Settings(data_dir=folder).effective_redis_url == f"unix://{tmp_path}/a%20b/redis.sock"
