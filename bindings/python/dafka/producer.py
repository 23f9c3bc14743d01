"""A producer publishes records to a topic."""

from __future__ import annotations

import ctypes
import errno
import time
from collections.abc import Iterable, Mapping
from ctypes import byref, c_uint64, c_void_p
from typing import Callable, Union

from . import _library as c
from . import _log
from ._config import Config, Tree
from ._node import _PRODUCER_RANK, Node
from ._text import content_to_bytes, name_from_bytes, name_to_bytes
from .errors import ClosedError, Error, InvalidArgument, LostTrack, RecordTooLong, Timeout, Unsupported

#: The content of a record, a key, or a header's value. A str becomes UTF-8.
Content = Union[bytes, bytearray, memoryview, str]
#: Headers: a mapping, or pairs of name and value.
Headers = Union[Mapping[str, Content], Iterable[tuple[str, Content]]]

# A flush waits in steps of this length, so that Python can handle signals in between.
_STEP_MS = 100
# The pauses while a producer has no room for a record, in seconds.
_FIRST_PAUSE_S = 0.0002
_LONGEST_PAUSE_S = 0.02

_ERRORS: dict[int, type[Error]] = {
    errno.EMSGSIZE: RecordTooLong,
    errno.EPIPE: ClosedError,
    errno.EIO: LostTrack,
    errno.EINVAL: InvalidArgument,
}


def _failure(function: str, number: int) -> Error:
    """The exception for a function that has failed with an error number (0: it has set none)."""
    text = _log.reason(function)
    kind = _ERRORS.get(number, Error)
    if kind is LostTrack:
        text = text or "another producer has used the same address, so acknowledgements may be missing"
    return kind(text or f"{function} failed")


class _Message:
    """A dafka_producer_msg_t. It lives as long as this object."""

    def __init__(self) -> None:
        self.object: int | None = c.producer_msg_new()
        if self.object is None:
            raise MemoryError

    def set(self, content: Content, key: Content | None, headers: Headers | None, timestamp: int | None) -> None:
        data = content_to_bytes(content, "the content")
        self._check("content_buffer", c.producer_msg_set_content(self.object, data, len(data)))
        if key is not None:
            data = content_to_bytes(key, "the key")
            self._check("key", c.producer_msg_set_key(self.object, data, len(data)))
        if headers is not None:
            for name, value in headers.items() if isinstance(headers, Mapping) else headers:
                data = content_to_bytes(value, f"the header {name}")
                encoded = name_to_bytes(name, "the name of a header")
                self._check("header", c.producer_msg_set_header(self.object, encoded, data, len(data)))
        if timestamp is not None:
            c.producer_msg_set_timestamp(self.object, timestamp)

    def _check(self, what: str, rc: int) -> None:
        if rc != 0:
            raise _failure(f"dafka_producer_msg_set_{what}", errno.EINVAL)

    def __del__(self) -> None:
        if self.object is not None:
            c.producer_msg_destroy(byref(c_void_p(self.object)))
            self.object = None


class Producer(Node):
    """Publishes records to a topic. It writes one partition of the topic.

    Several threads may use one producer at the same time. The records of each thread keep their order.

    `close` waits until every record is acknowledged by a store. Without a store it waits for ever, unless a timeout is
    given or `producer/terminate_unacked` is 1. The end of the process waits for at most 5 seconds, for all producers
    together. Records that are not acknowledged then are lost.
    """

    _end_rank = _PRODUCER_RANK

    def __init__(
        self, topic: str | bytes, *, config: Config | None = None, name: str | bytes | None = None
    ) -> None:
        """Starts a producer for a topic of 1 to 255 bytes.

        `name` sets `producer/name`: the producer continues the partition of the last one with this name and topic, and
        keeps its records in `producer/directory` until stores have them.

        This takes until the towers have answered, and at most `beacon/connect_timeout` (1000 ms by default). Raises
        StartError if the producer cannot start.
        """
        super().__init__()
        subject = name_to_bytes(topic, "a topic")
        tree = Tree(config)
        if name is not None:
            tree.put(b"producer/name", name_to_bytes(name, "producer/name"))
        args = c.ProducerArgs(subject, tree.root)
        self._topic = name_from_bytes(subject)
        self._address = ""
        self._sent = 0
        # One object for each call of `flush` that uses the C object.
        self._flushers: set[object] = set()
        self._waits_for_stores = (tree.get(b"producer/terminate_unacked") or b"0") == b"0"
        self._spares: list[_Message] = []

        def check(actor: int) -> bool:
            address = c.producer_address(actor)
            self._address = name_from_bytes(address or b"")
            return address is not None

        self._start_actor(c.producer_actor, tree, byref(args), check)

    def __repr__(self) -> str:
        return f"<dafka.Producer topic={self._topic!r} partition={self._address}>"

    @property
    def topic(self) -> str:
        """The topic."""
        return self._topic

    @property
    def address(self) -> str:
        """The address of the producer, which is also the name of its partition.

        The address changes if the producer detects another producer with the same address.
        """
        with self._lock:
            # The C function must not run while another thread flushes.
            if self._object is not None and not self._flushers:
                address = c.producer_address(self._object)
                if address is not None:
                    self._address = name_from_bytes(address)
            return self._address

    def send(
        self,
        content: Content,
        *,
        key: Content | None = None,
        headers: Headers | None = None,
        timestamp: int | None = None,
        timeout: float | None = None,
    ) -> None:
        """Hands a record to the producer, which publishes it at once or soon afterwards.

        `key` and `headers` travel with the record. The library does not interpret them. `timestamp` is in milliseconds
        since the Unix epoch; the default is the time at which the producer publishes the record.

        Waits while the producer has no room: its queue is full, or unacknowledged records fill
        `producer/max_unacked_bytes`. After `timeout` seconds, raises Timeout. The record is then not sent.
        """
        if timeout is not None:
            c.supported(c.producer_msg_try_send, "dafka_producer_msg_try_send")
        deadline = None if timeout is None else time.monotonic() + timeout
        message = self._message(content, key, headers, timestamp)
        pause = _FIRST_PAUSE_S
        while not self._send(message):
            left = pause if deadline is None else min(pause, deadline - time.monotonic())
            if left <= 0:
                raise Timeout(f"the producer had no room for the record within {timeout} s")
            time.sleep(left)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def try_send(
        self,
        content: Content,
        *,
        key: Content | None = None,
        headers: Headers | None = None,
        timestamp: int | None = None,
    ) -> bool:
        """As `send`, but does not wait. Returns false when the producer has no room for the record."""
        c.supported(c.producer_msg_try_send, "dafka_producer_msg_try_send")
        return self._send(self._message(content, key, headers, timestamp))

    def _message(
        self, content: Content, key: Content | None, headers: Headers | None, timestamp: int | None
    ) -> _Message:
        try:
            message = self._spares.pop()
        except IndexError:
            message = _Message()
        message.set(content, key, headers, timestamp)
        return message

    def _send(self, message: _Message) -> bool:
        """Sends a message. Returns false when there is no room."""
        with self._lock:
            actor = self._live()
            ctypes.set_errno(0)
            if c.producer_msg_try_send is None:
                function, rc = "dafka_producer_msg_send", c.producer_msg_send(message.object, actor)
            else:
                function, rc = "dafka_producer_msg_try_send", c.producer_msg_try_send(message.object, actor)
            if rc == 0:
                # The message is empty, and can be used again.
                self._sent += 1
                self._spares.append(message)
                return True
            number = ctypes.get_errno()
        if function.endswith("try_send") and number == errno.EAGAIN:
            return False
        raise _failure(function, number)

    def flush(self, timeout: float | None = None) -> None:
        """Waits until all records are acknowledged that were sent before.

        Waits for at most `timeout` seconds (None: without limit; 0: only checks), and raises Timeout when the time is
        over before. Without a store, no record is acknowledged.
        """
        function = c.supported(c.producer_flush, "dafka_producer_flush")
        deadline = None if timeout is None else time.monotonic() + timeout
        flusher = object()
        try:
            with self._lock:
                self._live()
                # Other threads may send more records meanwhile. The flush does not wait for those.
                sent = self._sent
                self._flushers.add(flusher)
            while not self._flush_step(function, sent, deadline):
                if deadline is not None and time.monotonic() >= deadline:
                    raise Timeout(f"{self.unacked} records are not acknowledged after {timeout} s")
        finally:
            self._flushers.discard(flusher)

    def _flush_step(self, function: Callable[..., int], sent: int, deadline: float | None) -> bool:
        step_ms = _STEP_MS
        if deadline is not None:
            step_ms = max(0, round(min(step_ms, 1000 * (deadline - time.monotonic()))))
        # The end of the producer waits until no thread is in this function.
        actor = self._object
        if actor is None:
            raise ClosedError(self._closed_because)
        ctypes.set_errno(0)
        if function(actor, step_ms) == 0:
            return True
        number = ctypes.get_errno()
        if number not in (errno.EAGAIN, errno.EINTR):
            raise _failure("dafka_producer_flush", number)
        with self._lock:
            return self._sent - self._count_unacked() >= sent

    def _destroy_taken(self, taken: int) -> None:
        while self._flushers:
            time.sleep(0.001)
        self._spares.clear()
        super()._destroy_taken(taken)

    def _end_with_process(self, due: float) -> None:
        try:
            if self._waits_for_stores:
                self.flush(max(0.0, due - time.monotonic()))
        except Unsupported:
            # The library ends the producer without a wait.
            return
        except Error as error:
            _log.logger.error("%r: %s", self, error)
            return
        super()._end_with_process(due)

    @property
    def unacked(self) -> int:
        """How many records are not acknowledged, of all records that were sent."""
        with self._lock:
            return self._count_unacked()

    def _count_unacked(self) -> int:
        count: int = c.supported(c.producer_unacked, "dafka_producer_unacked")(self._live())
        if count < 0:
            raise _failure("dafka_producer_unacked", ctypes.get_errno())
        return count

    @property
    def acked(self) -> int | None:
        """The sequence of the latest acknowledged record of the partition, or None when there is none.

        All earlier records of the partition are then acknowledged too.
        """
        sequence = c_uint64()
        with self._lock:
            ctypes.set_errno(0)
            rc = c.supported(c.producer_acked, "dafka_producer_acked")(self._live(), byref(sequence))
            if rc == 0:
                return sequence.value
            number = ctypes.get_errno()
        if number == errno.EAGAIN:
            return None
        raise _failure("dafka_producer_acked", number)
