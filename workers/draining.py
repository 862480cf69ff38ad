"""Whether this worker takes messages from the broker. Those that it leaves there are for other workers."""

from dataclasses import dataclass
from typing import Any

from celery import bootsteps


@dataclass
class Gate:
    """Open at first; one thread may close and open it while another looks.

    Attributes:
        closed: no more messages are asked for.
    """

    closed: bool = False


gate = Gate()


class GateStep(bootsteps.StartStopStep):
    """A step of Celery's consumer: has its channel ask the gate, again after each lost connection."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:
        """Put the gate before Celery's own limit, which is as many messages as there are free slots."""
        channel = parent.task_consumer.channel
        within_limit = channel.qos.can_consume

        def can_consume() -> bool:
            # an answer that is under way must be read, or the message in it would be kept from others
            return (not gate.closed or bool(channel._in_poll)) and bool(within_limit())

        channel.qos.can_consume = can_consume
