"""Configuration: a Python mapping or a file becomes a zconfig_t of CZMQ."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from ctypes import byref, c_void_p
from typing import Any, Union

from . import _library as c
from ._text import name_to_bytes
from .errors import InvalidArgument

#: A mapping, such as `{"store/db": "/srv/records"}` or `{"store": {"db": "/srv/records"}}`, or the path of a
#: configuration file.
Config = Union[Mapping[str, Any], str, "os.PathLike[str]"]


def _values(mapping: Mapping[str, Any], section: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
    for name, value in mapping.items():
        key = section + name_to_bytes(name, "a configuration key")
        if isinstance(value, Mapping):
            yield from _values(value, key + b"/")
        elif value is not None:
            yield key, _value(key, value)


def _value(key: bytes, value: Any) -> bytes:
    if isinstance(value, bool):
        return b"1" if value else b"0"
    if isinstance(value, int):
        return str(value).encode()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    return name_to_bytes(value, f"the value of {key.decode('utf-8', 'replace')}")


def _values_at(item: int | None, key: bytes) -> Iterator[bytes]:
    """The values at a key below an item, in the order of the file. zconfig_get finds only nested names."""
    child = c.zconfig_child(item)
    while child is not None:
        name = c.zconfig_name(child) or b""
        if name == key:
            yield c.zconfig_value(child) or b""
        elif key.startswith(name + b"/"):
            yield from _values_at(child, key[len(name) + 1 :])
        child = c.zconfig_next(child)


class Tree:
    """A zconfig_t. It lives as long as this object."""

    def __init__(self, config: Config | None) -> None:
        self.root: int | None = None
        if config is None or isinstance(config, Mapping):
            self.root = c.zconfig_new(b"root", None)
            for key, value in _values(config or {}):
                self.put(key, value)
        elif isinstance(config, (str, os.PathLike)):
            path = name_to_bytes(os.fspath(config), "the path of a configuration file")
            self.root = c.zconfig_load(path)
            if self.root is None:
                raise InvalidArgument(f"cannot read the configuration file {config}")
        else:
            raise TypeError(f"config must be a mapping or the path of a file, not {type(config).__name__}")

    def put(self, key: bytes, value: bytes) -> None:
        c.zconfig_put(self.root, key, value)

    def get(self, key: bytes) -> bytes | None:
        """The first value of a key. As in the library, a file may write the key nested, or with slashes in its names."""
        return next(_values_at(self.root, key), None)

    def __del__(self) -> None:
        if self.root is not None:
            c.zconfig_destroy(byref(c_void_p(self.root)))
            self.root = None
