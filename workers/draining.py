"""Draining: a worker that drains consumes no messages, so that other workers get them."""

from typing import Any

from celery import bootsteps


class DrainStep(bootsteps.StartStopStep):
    """Step of Celery's consumer that stops consumption while the worker drains. Runs at each reconnect."""

    draining = False  # whether this worker drains: it finishes its running jobs and consumes no messages
    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:
        """Add the drain flag to the channel's own limit, which is the number of free slots."""
        channel = parent.task_consumer.channel
        within_limit = channel.qos.can_consume

        def can_consume() -> bool:
            # the reply to a pending request may hold a message that no other worker can receive any more
            return (not DrainStep.draining or bool(channel._in_poll)) and bool(within_limit())

        channel.qos.can_consume = can_consume
