"""What Flower is started with where nothing else is said: seen from this machine, with a password, to look only.

Flower's own defaults are every address, no password and buttons that end tasks. Ours are defaults as well: an option of
Flower's, its variable (FLOWER_...) or a flowerconfig.py says otherwise.
"""

from __future__ import annotations

import secrets
from collections.abc import MutableMapping, Sequence
from typing import Final

USER: Final = "strata"

_DEFAULTS: Final = {
    "FLOWER_ADDRESS": "127.0.0.1",
    "FLOWER_READ_ONLY": "true",
    # The names are those of the stages; which run and unit it is, and what came of it, stand in the others.
    "FLOWER_TASKS_COLUMNS": "name,state,args,kwargs,result,exception,received,runtime,worker,uuid",
}
_WAYS_IN: Final = ("FLOWER_BASIC_AUTH", "FLOWER_AUTH")
"""Flower's options that say who may look."""


def protect(arguments: Sequence[str], environment: MutableMapping[str, str]) -> str:
    """Put the defaults into the environment of a `celery ... flower`; the password that was made, if one was.

    Does nothing for another command of Celery's.
    """
    if "flower" not in arguments:
        return ""
    for name, value in _DEFAULTS.items():
        environment.setdefault(name, value)
    options = {argument.partition("=")[0].lstrip("-").replace("-", "_") for argument in arguments}
    if any(name in environment or name.removeprefix("FLOWER_").lower() in options for name in _WAYS_IN):
        return ""
    password = secrets.token_urlsafe(12)
    environment["FLOWER_BASIC_AUTH"] = f"{USER}:{password}"
    return password
