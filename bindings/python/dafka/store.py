"""A store keeps records on disk."""

from __future__ import annotations

import os
import threading

from . import _library as c
from . import _log
from ._config import Config, Tree
from ._node import Node


class Store(Node):
    """Keeps the records of all topics in the directory `store/db`, and acknowledges them.

    `close` returns when the store has written all records that it has received.
    """

    _end_rank = 2

    def __init__(self, config: Config | None = None) -> None:
        """Starts a store. Raises StartError if it cannot start, for example because the directory is not writable."""
        super().__init__()
        tree = Tree(config)
        # zactor_new returns an actor even if the store cannot start: only the log shows it. One store starts at a time,
        # so that the lines of two stores are not confused.
        with _starting:
            errors = _log.count()
            self._start_actor(c.store_actor, tree, tree.root, lambda _: not _failures(errors))


def _failures(errors: int) -> list[str]:
    return [text for text in _log.errors_since(errors) if text.startswith("Store: ")]


_starting = threading.Lock()


def _after_fork() -> None:
    global _starting
    # Another thread of the parent may have held the lock.
    _starting = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
