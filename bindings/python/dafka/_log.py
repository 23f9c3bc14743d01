"""Passes the log lines of the library to Python's logging, as the logger "dafka".

The nodes log in their own threads. CZMQ writes each line to a pipe, and a thread of this module reads the pipe. The
writing end does not block: if the reader is too slow, lines are lost, and no node waits.
"""

from __future__ import annotations

import atexit
import collections
import contextlib
import ctypes
import logging
import os
import select
import sys
import threading
import traceback

from . import _library as c

logger = logging.getLogger("dafka")

_LEVELS = {"E": logging.ERROR, "W": logging.WARNING, "N": logging.INFO, "I": logging.INFO, "D": logging.DEBUG}

_libc = ctypes.CDLL(None)
_libc.fdopen.restype = ctypes.c_void_p
_libc.fdopen.argtypes = (ctypes.c_int, ctypes.c_char_p)


class _Reader:
    """The pipe between CZMQ's log and this process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.rest = b""
        # The number of errors so far, and the latest of them with their numbers.
        self.count = 0
        self.errors: collections.deque[tuple[int, str]] = collections.deque(maxlen=32)
        # Lines that the thread passes on. The library's errors are counted before a handler runs, because a handler may
        # wait, or use a node.
        self.lines: collections.deque[tuple[int, str]] = collections.deque(maxlen=10_000)
        self.wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.end, writing_end = os.pipe()
        os.set_blocking(self.end, False)
        os.set_blocking(writing_end, False)
        c.zsys_init()
        c.zsys_set_logstream(_libc.fdopen(writing_end, b"w"))
        threading.Thread(target=self.run, name="dafka-log", daemon=True).start()

    def run(self) -> None:
        poll = select.poll()
        poll.register(self.end, select.POLLIN)
        poll.register(self.wake, select.POLLIN)
        while self.pid == os.getpid():
            poll.poll()
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self.wake)
            self.read()
            self.pass_on()

    def read(self) -> None:
        """Reads all lines that were logged before. The thread passes them on."""
        with self.lock:
            while True:
                try:
                    data = os.read(self.end, 65536)
                except BlockingIOError:
                    break
                if not data:
                    break
                *complete, self.rest = (self.rest + data).split(b"\n")
                for line in complete:
                    level, text = _parse(line.decode("utf-8", "replace"))
                    self.lines.append((level, text))
                    if level == logging.ERROR:
                        self.count += 1
                        self.errors.append((self.count, text))
        if self.lines:
            os.eventfd_write(self.wake, 1)

    def pass_on(self) -> None:
        """Passes lines to Python's logging."""
        while self.lines:
            try:
                level, text = self.lines.popleft()
            except IndexError:
                return  # Another thread was faster.
            try:
                logger.log(level, "%s", text)
            except Exception:
                # A filter has raised an exception. logging prints exceptions of handlers in the same way.
                if logging.raiseExceptions and sys.stderr is not None:
                    traceback.print_exc()


def _parse(line: str) -> tuple[int, str]:
    """Splits a line of CZMQ's log, such as `E: 26-11-29 23:10:36 text`."""
    letter, _, rest = line.partition(": ")
    level = _LEVELS.get(letter)
    words = rest.split(" ", 2)
    if level is None or len(words) != 3:
        return logging.INFO, line
    return level, words[2]


_start_lock = threading.Lock()
_reader: _Reader | None = None


def start() -> _Reader:
    """Begins to pass on log lines. Later calls in the same process only return the reader."""
    global _reader
    with _start_lock:
        if _reader is None or _reader.pid != os.getpid():
            _reader = _Reader()
        return _reader


def count() -> int:
    """The number of errors that the library has logged."""
    reader = start()
    reader.read()
    return reader.count


def errors_since(number: int) -> list[str]:
    """The errors that the library has logged after `count` returned `number`."""
    reader = start()
    reader.read()
    return [text for position, text in list(reader.errors) if position > number]


def reason(function: str) -> str:
    """Why a function of the library has just failed: the line that it has logged. Empty if it has logged nothing."""
    reader = start()
    reader.read()
    prefix = function + ": "
    for entry in reversed(list(reader.errors)):
        if entry[1].startswith(prefix):
            try:
                reader.errors.remove(entry)
            except ValueError:
                continue  # Another thread was faster.
            return entry[1][len(prefix) :]
    return ""


def _stop() -> None:
    """Sends lines to standard error from now on, because no thread of Python's reads the pipe any more."""
    if _reader is not None and _reader.pid == os.getpid():
        c.zsys_set_logstream(ctypes.c_void_p.in_dll(_libc, "stderr"))
        _reader.read()
        _reader.pass_on()


def _after_fork() -> None:
    global _start_lock
    # Another thread of the parent may have held the lock.
    _start_lock = threading.Lock()


atexit.register(_stop)
os.register_at_fork(after_in_child=_after_fork)
