"""A store keeps records on disk."""

from __future__ import annotations

import os
import threading
import time

from . import _library as c
from . import _log
from ._config import Config, Tree
from ._node import _END_S, _STORE_RANK, Node


class Store(Node):
    """Keeps the records of all topics in the directory `store/db`, and acknowledges them.

    `close` returns when the store has written all records that it has received.
    """

    _end_rank = _STORE_RANK

    def __init__(self, config: Config | None = None) -> None:
        """Starts a store. Raises StartError if it cannot start, for example because the directory is not writable."""
        super().__init__()
        tree = Tree(config)
        # One store starts at a time, so that the lines of two stores are not confused.
        with _starting:
            errors = _log.count()
            self._start_actor(c.store_actor, tree, tree.root, lambda actor: _has_started(actor, errors))


def _has_started(actor: int, errors: int) -> bool:
    """Whether a new store runs. zactor_new returns an actor even if the store cannot start."""
    if not any(text.startswith("Store: ") for text in _log.errors_since(errors)):
        return True
    # The new store has logged an error and ends, or a store that already runs has logged it.
    due = time.monotonic() + _END_S
    while time.monotonic() < due:
        if c.zsock_events(actor) & c.POLLIN:
            # An actor that has ended sends a last signal.
            return False
        time.sleep(0.005)
    return True


_starting = threading.Lock()


def _after_fork() -> None:
    global _starting
    # Another thread of the parent may have held the lock.
    _starting = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
