"""`python -m workers`: a worker in the foreground, until SIGTERM or Ctrl-C."""

from celery.bin.celery import celery

if __name__ == "__main__":
    # not app.worker_main: only the command exits with a status that tells a supervisor how the worker ended
    celery(["--app", "workers.app", "worker", "--without-gossip", "--without-mingle", "--without-heartbeat"])
