"""`python -m workers`: a worker in the foreground, until SIGTERM or Ctrl-C."""

from workers.app import app

if __name__ == "__main__":
    app.worker_main(["worker", "--without-gossip", "--without-mingle", "--without-heartbeat"])
