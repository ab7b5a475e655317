"""The process's own streams while a command runs: full, closed or poor ones end none half way.

What a command does is worth more than what it says of it. So what cannot be written is dropped, and why is kept until
the command has ended: `Streams.lost` says it then.
"""

from __future__ import annotations

import codecs
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Final, Self, TextIO

from strata.errors import StrataError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_POOR: Final = "strata-poor"
_PLAINER: Final = {"✓": "+", "✗": "x", "▸": ">", "·": ".", "…": "~"}
"""What stands for our own signs where a terminal does not have them; each as wide as the sign."""


class AnswerLost(StrataError):
    """What a command had to say could not be written to standard output; what it did is done."""

    code = "answer-lost"
    exit_code = 18

    @classmethod
    def by(cls, fault: OSError) -> AnswerLost:
        """The error for what the system said."""
        return cls(
            f"the answer could not be written to standard output: {os.strerror(fault.errno or 0)}",
            hint="What the command did is done, and stays: `strata list` and `strata runs` show it.",
        )


class Sink(io.RawIOBase):
    """Bytes on their way out of the process; after a fault the rest is dropped."""

    def __init__(self, below: BinaryIO | io.RawIOBase) -> None:
        self._below = below
        self.fault: OSError | None = None

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._below.isatty()

    def fileno(self) -> int:
        return self._below.fileno()

    def write(self, data: ReadableBuffer, /) -> int:
        """Write, or drop; how many bytes are done with."""
        if self.fault is None:
            try:
                return self.put(data)
            except OSError as error:
                self.fault = error
        return memoryview(data).nbytes

    def put(self, data: ReadableBuffer) -> int:
        """Write some of it, as soon as there is room; an OSError where it cannot be written."""
        while (written := self._below.write(data)) is None:  # whoever shares it made it non-blocking
            select.select([], [self._below], [])
        return written


class Data(io.RawIOBase):
    """Standard output for bytes that are the result themselves: what cannot be written ends the command."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return self._sink.put(data)
        except OSError as fault:
            self._sink.fault = fault
            raise AnswerLost.by(fault) from None


class Streams:
    """Standard input, output and error as a command has them; what they were before is there again afterwards."""

    def __enter__(self) -> Self:
        _fill_gaps()
        self._before = sys.stdin, sys.stdout, sys.stderr
        self._out, sys.stdout = _fit(sys.stdout, 1)
        _, sys.stderr = _fit(sys.stderr, 2)
        sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdin, sys.stdout, sys.stderr = self._before

    @property
    def lost(self) -> OSError | None:
        """Why something that was said did not reach standard output; None where all of it did."""
        sys.stdout.flush()
        return self._out.fault if self._out else None


@contextmanager
def data() -> Iterator[BinaryIO]:
    """Standard output for bytes; AnswerLost where it takes no more of them."""
    sys.stdout.flush()
    below = sys.stdout.buffer
    whole = below.raw if isinstance(below, io.BufferedWriter) else below
    writer = io.BufferedWriter(Data(whole if isinstance(whole, Sink) else Sink(whole)))
    yield writer
    writer.flush()


def _fill_gaps() -> None:
    """Nothing that is opened later gets the number of a standard stream that is closed, and its words with it."""
    for number, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, flags), True)  # standard output stays one that takes nothing


def _fit(stream: TextIO | None, number: int) -> tuple[Sink | None, TextIO]:
    """The stream over a sink; one that is not the process's own, such as a test's, is taken as it is."""
    if stream is None:
        sink = Sink(io.FileIO(number, "w", closefd=False))
        return sink, _text(sink, "utf-8")
    if not isinstance(stream, io.TextIOWrapper):
        return None, stream
    stream.flush()
    below = stream.buffer
    sink = Sink(below.raw if isinstance(below, io.BufferedWriter) else below)
    return sink, _text(sink, stream.encoding)


def _text(sink: Sink, encoding: str) -> TextIO:
    return io.TextIOWrapper(io.BufferedWriter(sink), encoding, _POOR, line_buffering=True)


def _poorer(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that an encoding does not have."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_PLAINER.get(one) or ascii(one)[1:-1] for one in lacking), error.end


codecs.register_error(_POOR, _poorer)
