"""Calls of C functions that may wait for long.

Python handles a signal, such as Ctrl-C, in its main thread, between two steps of Python code. While the main thread is
inside a C function, it cannot do so. So such a function runs in a thread of its own, and the caller waits for it in
Python.
"""

from __future__ import annotations

import signal
import threading
from typing import Callable, Generic, TypeVar

T = TypeVar("T")


class Task(Generic[T]):
    """A function that runs once, in a thread of its own.

    Signals are blocked in this thread, and in the threads of the nodes that it starts. This also protects
    `zactor_new`, which a signal would interrupt.
    """

    def __init__(self, function: Callable[[], T | None], name: str) -> None:
        # The thread that pops the function runs it.
        self._functions = [function]
        self._name = name
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._result: T | None = None
        self._error: BaseException | None = None
        self._drop: Callable[[T], None] | None = None

    def start(self) -> None:
        """Starts the thread, unless the function runs or has run.

        If a signal's exception interrupts this method, the function may run or not. A second call is then safe.
        """
        if self._functions:
            threading.Thread(target=self._run_in_thread, name=self._name, daemon=True).start()

    def _run_in_thread(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        self.run()

    def run(self) -> None:
        """Runs the function in this thread, unless it runs or has run."""
        try:
            function = self._functions.pop()
        except IndexError:
            return
        try:
            self._result = function()
        except BaseException as error:
            self._error = error
        with self._lock:
            self._done.set()
            drop = self._drop
        if drop is not None and self._result is not None:
            drop(self._result)

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until the function has returned. Returns false when the time is over before."""
        return self._done.wait(None if timeout is None else min(timeout, threading.TIMEOUT_MAX))

    def is_over(self) -> bool:
        """Whether the function has returned. Takes no lock, so a destructor may call this."""
        return self._done.is_set()

    def result(self) -> T | None:
        """Returns what the function has returned, or raises what it has raised."""
        if self._error is not None:
            raise self._error
        return self._result

    def abandon(self, drop: Callable[[T], None]) -> None:
        """Calls `drop` with the result as soon as there is one."""
        with self._lock:
            if not self._done.is_set():
                self._drop = drop
                return
        if self._result is not None:
            drop(self._result)


def call(function: Callable[[], T | None], drop: Callable[[T], None], name: str) -> T | None:
    """Calls a function that returns a C object or None. If a signal's exception ends the wait, `drop` destroys the
    object later."""
    task = Task(function, name)
    try:
        task.start()
        task.wait()
    except BaseException:
        task.abandon(drop)
        raise
    return task.result()
