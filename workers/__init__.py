"""Workers: Celery processes that claim jobs and run attempts at them."""
