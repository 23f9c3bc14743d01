"""A tower introduces nodes to each other."""

from __future__ import annotations

import os
import re
import tempfile

from . import _library as c
from ._config import Config, Tree
from ._node import _TOWER_RANK, Node
from ._text import name_from_bytes

_FILE_KEY = b"tower/endpoints_file"
_LINE = re.compile(rb"^(\S+) = ([\"'])(.*)\2$", re.MULTILINE)


class Tower(Node):
    """Introduces nodes to each other. A network needs at least one tower.

    It binds the addresses `tower/sub_address` and `tower/pub_address` of its configuration. With `tcp://127.0.0.1:*`,
    the system chooses the ports. `config` has the actual addresses, for the nodes of this host.
    """

    _end_rank = _TOWER_RANK

    def __init__(self, config: Config | None = None) -> None:
        """Starts a tower. Raises StartError if it cannot start, for example because a port is in use."""
        super().__init__()
        self._config: dict[str, str] = {}
        tree = Tree(config)
        # The file shows that the tower has started, and contains its addresses.
        with tempfile.TemporaryDirectory(prefix="dafka-") as folder:
            path = tree.get(_FILE_KEY)
            if not path:
                path = os.path.join(os.fsencode(folder), b"tower.cfg")
                tree.put(_FILE_KEY, path)
            file = path
            # A tower that was killed may have left its file. The tower that starts replaces this file.
            old = _identity(file)

            def check(_: int) -> bool:
                if _identity(file) in (None, old):
                    return False
                with open(file, "rb") as lines:
                    found = _LINE.findall(lines.read())
                values = {name_from_bytes(key): name_from_bytes(value) for key, _, value in found}
                self._config = {key: value for key, value in values.items() if key.startswith("beacon/")}
                return True

            self._start_actor(c.tower_actor, tree, tree.root, check)

    def __repr__(self) -> str:
        return f"<dafka.Tower {self._config}>"

    @property
    def config(self) -> dict[str, str]:
        """The configuration for nodes of this host that use this tower, as a new dict."""
        return dict(self._config)


def _identity(path: bytes) -> tuple[int, int, int] | None:
    """What changes when another file replaces the file. None if there is no file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns
