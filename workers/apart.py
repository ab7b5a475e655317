"""A worker whose broker or ledger lies in a database of HOT does not start."""

from __future__ import annotations

import sys
import threading
from typing import Final

from celery.signals import worker_init

from strata.errors import SettingError, StrataError
from strata.settings import load_settings
from strata.wiring import Wiring

_SECONDS: Final = 5.0
"""A HOT that does not answer keeps no worker from starting: the stages that work on it ask again."""


@worker_init.connect
def keep_apart(**_: object) -> None:
    """End the worker with the sentence and the exit code of the setting."""
    errors: list[SettingError] = []

    def look() -> None:
        try:
            Wiring(load_settings()).looks.keep_apart()
        except SettingError as error:
            errors.append(error)
        except StrataError:
            pass

    thread = threading.Thread(target=look, name="look at HOT", daemon=True)
    thread.start()
    thread.join(_SECONDS)
    if errors:
        sys.stderr.write(f"strata: {errors[0].sentence}\n{errors[0].hint}\n")
        raise SystemExit(errors[0].exit_code)
