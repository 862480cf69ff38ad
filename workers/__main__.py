"""Run a worker in the foreground, until SIGTERM or Ctrl-C: `python -m workers`."""

from celery.bin.celery import celery

if __name__ == "__main__":
    # not app.worker_main: only this command's exit status tells a supervisor whether the worker failed
    celery(["--app", "workers.app", "worker", "--without-gossip", "--without-mingle", "--without-heartbeat"])
