"""Names and contents, from Python to bytes and back."""

from __future__ import annotations

from .errors import InvalidArgument

# Topics and names of headers are bytes that are usually UTF-8. Other bytes survive the way to Python and back.
_ERRORS = "surrogateescape"


def name_to_bytes(name: str | bytes, what: str) -> bytes:
    """Encodes a topic, a header's name or a configuration key. `what` names it in an exception."""
    if isinstance(name, str):
        name = name.encode("utf-8", _ERRORS)
    elif not isinstance(name, bytes):
        raise TypeError(f"{what} must be str or bytes, not {type(name).__name__}")
    if b"\0" in name:
        raise InvalidArgument(f"{what} contains a NUL")
    return name


def name_from_bytes(name: bytes) -> str:
    return name.decode("utf-8", _ERRORS)


def content_to_bytes(content: bytes | bytearray | memoryview | str, what: str) -> bytes:
    """Returns a content, a key or a header's value as bytes. A str becomes UTF-8."""
    if isinstance(content, bytes):
        return content
    if isinstance(content, str):
        return content.encode("utf-8")
    if isinstance(content, (bytearray, memoryview)):
        return bytes(content)
    raise TypeError(f"{what} must be bytes or str, not {type(content).__name__}")
