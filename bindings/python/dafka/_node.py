"""What all nodes have in common: start, end, and what happens to them in a forked process."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import time
import warnings
import weakref
from ctypes import byref, c_void_p
from functools import partial
from types import TracebackType
from typing import Any, Callable, TypeVar

from . import _library as c
from . import _log
from ._config import Tree
from ._waiting import Task, call
from .errors import ClosedError, StartError, Timeout

N = TypeVar("N", bound="Node")

# How long the end of a `with` block waits for acknowledgements after an exception, and how long the end of the process
# waits for them, in seconds.
_END_S = 5.0

# At the end of the process, nodes with a lower rank end first.
_CONSUMER_RANK, _PRODUCER_RANK, _STORE_RANK, _TOWER_RANK = range(4)

_KINDS = "consumer", "producer", "store", "tower"

_nodes: weakref.WeakSet[Node] = weakref.WeakSet()

# Nodes that end in the background. The end of the process waits for them.
_ends: set[Task[None]] = set()


def _end(task: Task[None]) -> None:
    """Ends a node in a thread. A second call with the same task is safe.

    Raises RuntimeError when the interpreter is ending and starts no threads.
    """
    _ends.difference_update([end for end in list(_ends) if end.is_over()])
    _ends.add(task)
    try:
        task.start()
    except RuntimeError:
        _ends.discard(task)
        raise


def _destroy_actor(actor: int) -> None:
    c.zactor_destroy(byref(c_void_p(actor)))


class Node:
    """A running node. Leaving its `with` block closes the node."""

    _end_rank = _CONSUMER_RANK

    def __init__(self) -> None:
        self._object: int | None = None
        self._ending: Task[None] | None = None
        self._closed_because = f"the {self._kind()} is closed"
        # Guards the C object. A thread that wants the lock first waits at the gate, so that it gets its turn even if
        # another thread takes the lock again and again.
        self._lock = threading.RLock()
        self._gate = threading.Lock()

    @classmethod
    def _kind(cls) -> str:
        return cls.__name__.lower()

    def _start(
        self, make: Callable[[], int | None], destroy: Callable[[int], None], check: Callable[[int], bool]
    ) -> None:
        """Makes the C object. Raises StartError if it has not started."""
        errors = _log.count()

        def start() -> int | None:
            made = make()
            if made is not None and not check(made):
                destroy(made)
                return None
            return made

        made = call(start, destroy, "dafka-start")
        if made is None:
            lines = _log.errors_since(errors)
            # Nodes of other kinds may have logged errors meanwhile.
            others = [kind for kind in _KINDS if kind != self._kind()]
            prefixes = tuple(prefix for kind in others for prefix in (f"{kind.title()}: ", f"dafka_{kind}_"))
            own = [line for line in lines if not line.startswith(prefixes)]
            raise StartError("; ".join(own or lines) or f"the {self._kind()} cannot start, see the log")
        self._destroy = destroy
        self._object = made
        _nodes.add(self)

    def _start_actor(self, actor: Any, tree: Tree, args: Any, check: Callable[[int], bool]) -> None:
        def make() -> int | None:
            # `args` contains a pointer to `tree`, which this function keeps alive.
            made: int | None = c.zactor_new(actor, args if tree.root else None)
            return made

        self._start(make, _destroy_actor, check)

    def _live(self) -> int:
        """The C object. Call this with the lock held."""
        if self._object is None:
            raise ClosedError(self._closed_because)
        return self._object

    @property
    def closed(self) -> bool:
        """True when the node is closed."""
        return self._object is None

    def _take(self) -> Task[None] | None:
        """Takes the C object out, so that no other thread uses it. Returns the task that ends it, if there is one.

        A signal's exception may interrupt this method at any step. Either the node then still has the object, or
        `_ending` ends it, and the next `close` or the end of the process starts this task.
        """
        with self._gate, self._lock:
            taken = self._object
            if taken is not None:
                self._ending = Task(partial(self._destroy_taken, taken), "dafka-close")
                self._object = None
            return self._ending

    def _destroy_taken(self, taken: int) -> None:
        self._destroy(taken)

    def close(self, timeout: float | None = None) -> None:
        """Ends the node, and waits until it has ended: at most `timeout` seconds (None: without limit).

        Raises Timeout when the time is over before. The node then continues to end in the background. Another call of
        `close` waits for its end. Closing a closed node has no effect. Ctrl-C ends the wait.
        """
        ending = self._take()
        if ending is None:
            return
        try:
            _end(ending)
        except RuntimeError:
            ending.run()
        if not ending.wait(timeout):
            raise Timeout(f"the {self._kind()} has not ended within {timeout} s")

    def __enter__(self: N) -> N:
        with self._gate, self._lock:
            self._live()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        try:
            self.close(_END_S)
        except Timeout as timeout:
            # The exception of the block is more important.
            _log.logger.warning("%s", timeout)

    def __del__(self) -> None:
        if getattr(self, "_object", None) is None or sys.is_finalizing():
            # The library ends the nodes at the end of the process.
            return
        taken, self._object = self._object, None
        destroy = self._destroy
        try:
            _end(Task(lambda: destroy(taken), "dafka-close"))  # type: ignore[arg-type]
        except RuntimeError:
            pass  # The library ends the node.
        warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self)

    def _end_with_process(self, due: float) -> None:
        """Closes the node at the end of the process, when the interpreter may start no more threads.

        Waits for acknowledgements until the time `due`.
        """
        ending = self._take()
        if ending is not None:
            ending.run()

    def _disown(self) -> None:
        """Forgets the C object, which belongs to the parent process."""
        if self._object is not None:
            self._object = None
            self._closed_because = f"the {self._kind()} belongs to the process that forked this one"
        self._ending = None
        # Threads of the parent may have held the locks.
        self._lock = threading.RLock()
        self._gate = threading.Lock()


def _after_fork() -> None:
    _ends.clear()
    for node in list(_nodes):
        node._disown()


def _at_exit() -> None:
    due = time.monotonic() + _END_S
    for node in list(_nodes):
        if node.closed and node._ending is not None:
            # A signal's exception may have interrupted `close` before the thread started.
            with contextlib.suppress(RuntimeError):
                _end(node._ending)
    nodes = sorted((node for node in _nodes if not node.closed), key=lambda node: node._end_rank)
    # Producers need the stores, and all nodes need the towers. The nodes that end in the background may be producers.
    for node in nodes:
        if node._end_rank < _STORE_RANK:
            node._end_with_process(due)
    for end in list(_ends):
        end.wait(max(0.0, due - time.monotonic()))
    for node in nodes:
        if node._end_rank >= _STORE_RANK:
            node._end_with_process(due)


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
