#!/bin/sh
# worker, beat and flower are Celery's; everything else is a command of its own, such as `strata` or `python`.
# `exec`, so that the process is number 1 and gets the SIGTERM itself.
set -eu
case "${1:-}" in
    worker | beat | flower) exec celery -A workers "$@" ;;
    *) exec "$@" ;;
esac
