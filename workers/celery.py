"""Where `celery -A workers` looks for the app."""

from workers.app import app

__all__ = ["app"]
