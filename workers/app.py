"""The Celery app: `celery -A workers worker|beat|flower`. Its settings stand in `workers.configuration`."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Final

import celery
from celery import Celery
from celery.signals import worker_process_init

import workers.apart
import workers.clocks
import workers.heartbeat
import workers.ticks  # noqa: F401 - connect their signals
from strata.errors import StrataError
from strata.settings import load_settings
from workers.configuration import make_app
from workers.flower_defaults import USER, protect

_FAULTY_REDELIVERY: Final = "5.7.0"


def _app() -> Celery:
    try:
        return make_app(load_settings())
    except StrataError as error:
        sys.stderr.write(f"strata: {error.sentence}\n{error.hint}\n")
        raise SystemExit(error.exit_code) from None


if password := protect(sys.argv, os.environ):
    sys.stderr.write(f"Flower asks for the user {USER} and the password {password}; FLOWER_BASIC_AUTH sets others.\n")

app = _app()
celery_app = app


@worker_process_init.connect
def _begin_child(**_: object) -> None:
    """A child makes its own connections: sockets must not be shared over a fork."""
    from tasks.stage import forget_wiring

    forget_wiring()
    _keep_quiet()  # again: setting up its log, Celery puts "always" before what was said here


def _keep_quiet() -> None:
    """False is meant, as workers.configuration says; the log of every run would be full of it."""
    warnings.filterwarnings("ignore", message="\\s*task_allow_error_cb_on_chord_header=False")


_keep_quiet()

if celery.__version__ == _FAULTY_REDELIVERY:
    from workers.celery_5_7_0 import keep_client_for_redelivery

    keep_client_for_redelivery()
