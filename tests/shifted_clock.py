"""A process whose clock is wrong: a library that is loaded before the C library shifts the time of day it is told."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long shift(void) { const char *by = getenv("CLOCK_SHIFT"); return by ? atol(by) : 0; }

int clock_gettime(clockid_t clock, struct timespec *told) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, told);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) told->tv_sec += shift();
    return failed;
}

int gettimeofday(struct timeval *told, void *zone) {
    struct timespec now;
    int failed = clock_gettime(CLOCK_REALTIME, &now);
    told->tv_sec = now.tv_sec;
    told->tv_usec = now.tv_nsec / 1000;
    return failed;
}

time_t time(time_t *told) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (told) *told = now.tv_sec;
    return now.tv_sec;
}
"""


def shifting(folder: Path) -> Path:
    """The library, made in a folder; the test is skipped where no C compiler is."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc) is here, and without one no process can be given another clock")
    library = folder / "shifted.so"
    source = folder / "shifted.c"
    source.write_text(_SOURCE)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    return library


def shifted(library: Path, seconds: int) -> dict[str, str]:
    """What to add to a process' environment, so that its clock is so many seconds ahead; negative ones behind."""
    return {"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(seconds)}
