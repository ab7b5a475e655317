"""What all stage tasks share: the engine of this process, retries by kind of error, failures without state in them."""

from __future__ import annotations

import inspect
import random
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final, NoReturn, get_type_hints

from celery.exceptions import Ignore, Retry, SoftTimeLimitExceeded
from celery.utils.log import get_task_logger
from kombu.exceptions import OperationalError

from strata.catalog.ledger import Claim
from strata.errors import RunFailed, StageBusy, StrataError
from strata.model.run import Progress
from strata.model.tier import StorageTier
from strata.settings import load_settings
from strata.storage.metered import Meter, MeteredStore
from strata.wiring import Wiring
from tasks.due import DueTask
from tasks.words import about, in_words, kept

BUSY_SECONDS: Final = 2
LONGEST: Final = 200
"""Characters of a text among the arguments of a task: it ends up in messages and in the ledger."""
MAX_RETRIES: Final = 4
MAX_BACKOFF: Final = 30
FAILURES: Final = "strata_failures"
"""The header that says how often a message failed for a reason that may pass."""
_BECAUSE: Final = "strata_because"
"""The header that says for which, last."""
_LONGEST_REASON: Final = 1000

_KINDS: Final[dict[Any, str]] = {str: f"text of at most {LONGEST} characters", int: "a whole number", object: "short"}

logger = get_task_logger("strata")


class StageFailed(Exception):
    """One sentence: which stage of which run failed, and why. Holds no state and no secret."""


@cache
def wiring() -> Wiring:
    """The engine of this process, built at the first task."""
    return Wiring(load_settings(), _show_progress, pause_is_left=_send_end_of_pause)


def forget_wiring() -> None:
    """Drop what was built before a fork."""
    wiring.cache_clear()


class TellingTask(DueTask):
    """A task whose failures are sentences: a line in the log, and no traceback, which would say no more."""

    abstract = True
    throws = (StageFailed,)  # Celery logs any other as unexpected, with its traceback

    def on_failure(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:  # noqa: ARG002
        """Log the sentence where it stands out."""
        if isinstance(exc, StageFailed):
            logger.error("%s did not succeed: %s", self.name, exc)


class StageTask(TellingTask):
    """A task that is one stage of one run; one of its arguments is the run's id."""

    abstract = True
    max_retries = None  # `failed` bounds them; a busy stage may be asked for as often as it takes
    ignore_result = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the body; turn its errors into a retry or into one clean failure.

        Arguments that the stage does not take say nothing of a run, so no run is told.
        """
        given = self._by_name(args, kwargs)
        run_id = str(given["run_id"])
        try:
            with _use_told(self.name, run_id):
                return self.run(**given)  # Task.__call__ would hide the request that `retry` needs
        except (Ignore, Retry, StageFailed):
            raise
        except StageBusy:
            self._come_again(BUSY_SECONDS, self.transient_failures(), self._because())
        except StrataError as error:
            if error.retryable and self.transient_failures() < MAX_RETRIES:
                logger.warning("%s of %s will be tried again: %s", self.name, run_id, error.sentence)
                self._come_again(backoff(self.transient_failures()), self.transient_failures() + 1, error.sentence)
            self._fail(run_id, self._own(error), error.code)
        except SoftTimeLimitExceeded:
            self._fail(run_id, f"{self.name} worked longer than STRATA_STAGE_SECONDS allows")
        except Exception as error:  # noqa: BLE001 - a task turns every error into retry or failure
            self._fail(run_id, f"{self.name} {unforeseen(error)}")

    def _by_name(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments by name: all of them, each of its type, no text without end."""
        hints = get_type_hints(self.run)
        takes = {name: hints[name] for name in inspect.signature(self.run).parameters}
        given = dict(zip(takes, args, strict=False)) | kwargs
        if len(given) != len(args) + len(kwargs) or given.keys() != takes.keys():
            raise StageFailed(f"{self.name} takes {', '.join(takes)}, and was given others")
        for name, kind in takes.items():
            if not isinstance(given[name], kind) or len(str(given[name])) > LONGEST:
                raise StageFailed(f"{name} of {self.name} is wrong: it must be {_KINDS[kind]}")
        return given

    def transient_failures(self) -> int:
        """How often this message failed for a reason that may pass."""
        return failures_of(self.request)

    def later(self, seconds: float) -> NoReturn:
        """Come again after so many seconds: nothing has failed."""
        self._come_again(seconds, 0, "")

    def _own(self, error: StrataError) -> str:
        """Why this stage failed: where its run has ended meanwhile, what it failed of when it was tried before."""
        before = self._because()
        if not before or not _is_of_run(error):
            return error.sentence
        return f"{before}; not done when tried again: {error.sentence}"

    def _because(self) -> str:
        return str((self.request.headers or {}).get(_BECAUSE) or "")[:_LONGEST_REASON]

    def _come_again(self, seconds: float, failures: int, because: str) -> NoReturn:
        headers = {FAILURES: failures, _BECAUSE: because}
        raise self.retry(countdown=seconds, headers=headers, **kept(self.request)) from None

    def _fail(self, run_id: str, sentence: str, code: str = "") -> NoReturn:
        wiring().ledger.note_failure(run_id, sentence, code)
        raise StageFailed(sentence) from None


def _is_of_run(error: StrataError) -> bool:
    """Whether it says of the run as a whole that it does not go on."""
    return type(error) is RunFailed


def failures_of(request: Any) -> int:
    """How often the message failed for a reason that may pass; a header that is no such number counts as none."""
    told = (request.headers or {}).get(FAILURES)
    return told if type(told) is int and told >= 0 else 0


def unforeseen(error: Exception) -> str:
    """Kind and place of an error; not its message, nor its values: they may hold state."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"stopped at an unforeseen {type(error).__name__} ({place.name}, line {place.lineno})"


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures: doubling from 1 s, with jitter so that workers do not return at once."""
    return min(2.0**failures, MAX_BACKOFF) * random.uniform(0.5, 1.0)  # noqa: S311 - spreading load, not secrets


@contextmanager
def _use_told(task: str, run_id: str) -> Iterator[None]:
    """Log which stores a stage used: calls, bytes, and the seconds of its threads together, retries included."""
    before = _meters()
    try:
        yield
    finally:
        for tier, now in _meters().items():
            used = now - before[tier]
            if used.calls:
                words = (task, run_id, tier.upper(), used.calls, used.bytes / 1e6, used.seconds)
                logger.info("%s of %s used %s: %d calls, %.1f MB, %.2f s", *words)


def _meters() -> dict[StorageTier, Meter]:
    return {tier: store.total for tier, store in wiring().stores.items() if isinstance(store, MeteredStore)}


def _send_end_of_pause(run_id: str) -> None:
    """Have the collecting workers end a pause: they may enter HOT, and the application's commands stand there."""
    from tasks.collect import end_pause

    try:
        end_pause.apply_async(args=(run_id,), **about(run_id))
    except OperationalError:
        logger.warning("the pause that %s left was not ended, because the broker does not answer", run_id)


def _show_progress(claim: Claim, progress: Progress) -> None:
    """Tell Flower how far the current task is."""
    from celery import current_task

    if current_task and current_task.request.id:
        current_task.send_event("task-progress", result=in_words(progress), run=claim.run_id)
