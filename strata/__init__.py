"""Strata backs up Redis, PostgreSQL and S3 together, as one recovery point, and brings them back."""

__version__ = "0.1.0"
