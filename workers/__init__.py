"""Where the stages run: the Celery app, its queues and settings, process life cycle, and the local stack."""
