"""What a worker that drains asks the broker for."""

from dataclasses import dataclass, field

import pytest

from workers.draining import GateStep, gate


@dataclass
class FakeQos:
    free: bool = True

    def can_consume(self) -> bool:
        return self.free


@dataclass
class FakeChannel:
    qos: FakeQos = field(default_factory=FakeQos)
    _in_poll: object = None


@dataclass
class FakeTaskConsumer:
    channel: FakeChannel = field(default_factory=FakeChannel)


@dataclass
class FakeConsumer:
    task_consumer: FakeTaskConsumer = field(default_factory=FakeTaskConsumer)
    steps: list[object] = field(default_factory=list)


@pytest.fixture
def channel(monkeypatch: pytest.MonkeyPatch) -> FakeChannel:
    """The channel of a consumer whose gate is open."""
    monkeypatch.setattr(gate, "closed", False)
    consumer = FakeConsumer()
    GateStep(consumer).start(consumer)
    return consumer.task_consumer.channel


def test_an_open_gate_leaves_the_limit_as_it_is(channel: FakeChannel) -> None:
    assert channel.qos.can_consume()
    channel.qos.free = False
    assert not channel.qos.can_consume()


def test_a_closed_gate_asks_for_nothing_more(channel: FakeChannel) -> None:
    gate.closed = True
    assert not channel.qos.can_consume()
    gate.closed = False
    assert channel.qos.can_consume()


def test_an_answer_that_is_under_way_is_read_though_the_gate_is_closed(channel: FakeChannel) -> None:
    gate.closed, channel._in_poll = True, object()
    assert channel.qos.can_consume()
    channel._in_poll = None
    assert not channel.qos.can_consume()
