"""A consumer reads the records of topics."""

from __future__ import annotations

import ctypes
import errno
import time
from collections.abc import Callable, Iterator
from ctypes import byref, c_size_t, c_void_p
from typing import Any, NamedTuple

from . import _library as c
from . import _log
from ._config import Config, Tree
from ._node import Node
from ._text import name_from_bytes, name_to_bytes
from ._waiting import Task
from .errors import ClosedError, Error, InvalidArgument, Timeout

# A consumer waits in steps of this length, so that Python can handle signals in between.
_STEP_MS = 250

# EAGAIN: a commit is not confirmed yet. EINTR: a signal ended the wait for it. EFAULT: an internal error of the library.
_ERRORS: dict[int, type[Error]] = {
    errno.EAGAIN: Timeout,
    errno.EINTR: Error,
    errno.EPIPE: ClosedError,
    errno.EFAULT: Error,
}
_TEXTS = {errno.EAGAIN: "no store has confirmed the commit yet", errno.EPIPE: "the consumer has ended"}


def _failure(function: str, number: int) -> Error:
    """The exception for a function that has failed with an error number."""
    kind = _ERRORS.get(number, InvalidArgument)
    return kind(_log.reason(function) or _TEXTS.get(number, f"{function} failed"))


class Record(NamedTuple):
    """A record that a consumer has received."""

    #: The topic.
    topic: str
    #: The name of the partition, which is the address of the record's producer.
    partition: str
    #: The offset of the record in its partition, from 0.
    sequence: int
    #: The time in milliseconds since the Unix epoch, or None. Producers of libdafka 0.1.0 send none.
    timestamp: int | None
    #: The key, or None when the record has no key.
    key: bytes | None
    #: The headers, in the order in which the producer has set them.
    headers: dict[str, bytes]
    #: The content.
    content: bytes


class Consumer(Node):
    """Reads the records of topics. Iterating over it waits for records, without end.

    The records of one partition arrive in order, and each record once. A consumer begins where `consumer/offset/reset`
    says: at `latest`, the default, or at `earliest`.

    Another thread may close a consumer; the iteration then ends. Only one thread at a time receives records.
    """

    def __init__(
        self,
        *topics: str | bytes,
        config: Config | None = None,
        name: str | bytes | None = None,
        group: str | bytes | None = None,
    ) -> None:
        """Starts a consumer that subscribes to topics.

        `name` sets `consumer/name`: the consumer continues where the last one with this name has stopped. `group` sets
        `consumer/group`: the consumers of a group share the records. A record counts as processed when the next one is
        requested.

        This takes until the towers have answered, and at most `beacon/connect_timeout` (1000 ms by default). Raises
        StartError if the consumer cannot start.
        """
        super().__init__()
        self._topics: list[str] = []
        self._address = ""
        self._source: int | None = None
        self._step_ms: int | None = None
        self._message: int | None = None
        self._last: Record | None = None
        names = [name_to_bytes(topic, "a topic") for topic in topics]
        tree = Tree(config)
        for key, value in ((b"consumer/name", name), (b"consumer/group", group)):
            if value is not None:
                tree.put(key, name_to_bytes(value, key.decode()))
        args = c.ConsumerArgs(tree.root, None)

        def make() -> int | None:
            # `args` contains a pointer to `tree`, which this function keeps alive.
            made: int | None = c.consumer_new(byref(args)) if tree.root else None
            return made

        self._start(make, _destroy, lambda _: True)
        self._source = c.consumer_record_source(self._object)
        self._address = name_from_bytes(c.consumer_address(self._object))
        self._message = c.consumer_msg_new()
        try:
            for name in names:
                self.subscribe(name)
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<dafka.Consumer topics={self._topics} address={self._address}>"

    @property
    def address(self) -> str:
        """The address by which other nodes identify the consumer."""
        return self._address

    @property
    def topics(self) -> list[str]:
        """The topics that the consumer is subscribed to."""
        return list(self._topics)

    def subscribe(self, topic: str | bytes) -> None:
        """Subscribes to a topic of at most 255 bytes. The empty topic subscribes to all topics."""
        name = name_to_bytes(topic, "a topic")
        with self._gate, self._lock:
            if c.consumer_subscribe(self._live(), name) != 0:
                raise _failure("dafka_consumer_subscribe", ctypes.get_errno())
            if (text := name_from_bytes(name)) not in self._topics:
                self._topics.append(text)

    def unsubscribe(self, topic: str | bytes) -> None:
        """Ends a subscription. Records that have already arrived are still delivered."""
        name = name_to_bytes(topic, "a topic")
        with self._gate, self._lock:
            if c.consumer_unsubscribe(self._live(), name) != 0:
                raise _failure("dafka_consumer_unsubscribe", ctypes.get_errno())
            if (text := name_from_bytes(name)) in self._topics:
                self._topics.remove(text)

    def seek(self, topic: str | bytes, partition: str, sequence: int) -> None:
        """Continues at the record `sequence` of a partition: the next one of this partition that is received.

        `partition` is the address of the partition's producer (`Record.partition`).
        """
        names = name_to_bytes(topic, "a topic"), name_to_bytes(partition, "a partition")
        if not 0 <= sequence < 2**64:
            raise InvalidArgument(f"the sequence {sequence} is invalid")
        self._change("dafka_consumer_seek", c.consumer_seek, *names, sequence)

    def seek_time(self, topic: str | bytes, milliseconds: int) -> None:
        """Continues, in each partition of a topic (all topics: ""), at the first record of this time or later.

        `milliseconds` is the time since the Unix epoch, as in `Record.timestamp`. Also applies to partitions that are
        not known yet.
        """
        name = name_to_bytes(topic, "a topic")
        if not -(2**63) <= milliseconds < 2**63:
            raise InvalidArgument(f"the time {milliseconds} is invalid")
        self._change("dafka_consumer_seek_time", c.consumer_seek_time, name, milliseconds)

    def seek_end(self, topic: str | bytes) -> None:
        """Continues at the end of each partition of a topic (all topics: "")."""
        self._change("dafka_consumer_seek_end", c.consumer_seek_end, name_to_bytes(topic, "a topic"))

    def pause(self, topic: str | bytes) -> None:
        """Receives no records of a topic until `resume`. None is lost."""
        self._change("dafka_consumer_pause", c.consumer_pause, name_to_bytes(topic, "a topic"))

    def resume(self, topic: str | bytes) -> None:
        """Continues to receive the records of a topic after `pause`."""
        self._change("dafka_consumer_resume", c.consumer_resume, name_to_bytes(topic, "a topic"))

    def lag(self, topic: str | bytes = "") -> int:
        """Returns how many records of a topic (all topics: "") are known, and not received yet."""
        count: int = self._change("dafka_consumer_lag", c.consumer_lag, name_to_bytes(topic, "a topic"))
        return count

    def commit(self, record: Record | None = None) -> None:
        """Commits that all received records are processed: stores keep the positions for `consumer/name`.

        With `record`, the record that was received last, only the position in its partition is committed. Waits until
        a store has the commit on disk. Raises Timeout after 5 seconds; the consumer then continues to publish it.
        """
        with self._gate, self._lock:
            consumer = self._live()
            if record is not None and record is not self._last:
                raise InvalidArgument("the record is not the one that was received last")
            if record is None:
                name, result = "dafka_consumer_commit", c.consumer_commit(consumer)
            else:
                name, result = "dafka_consumer_commit_msg", c.consumer_commit_msg(consumer, self._message)
            if result != 0:
                raise _failure(name, ctypes.get_errno())

    def _change(self, name: str, function: Callable[..., int], *arguments: Any) -> int:
        with self._gate, self._lock:
            result = function(self._live(), *arguments)
            if result < 0:
                raise _failure(name, ctypes.get_errno())
        return result

    def poll(self, timeout: float | None = None) -> Record | None:
        """Waits for the next record: at most `timeout` seconds (None: without limit; 0: does not wait).

        Returns None when the time is over.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            step_ms = _STEP_MS
            if deadline is not None:
                step_ms = max(0, round(min(step_ms, 1000 * (deadline - time.monotonic()))))
            # A thread that waits for the lock holds the gate. It gets the lock first.
            with self._gate:
                pass
            with self._lock:
                consumer = self._live()
                if step_ms != self._step_ms:
                    c.zsock_set_rcvtimeo(self._source, step_ms)
                    self._step_ms = step_ms
                ctypes.set_errno(0)
                if c.consumer_msg_recv(self._message, consumer) == 0:
                    self._last = self._record()
                    return self._last
                number = ctypes.get_errno()
            if number == errno.EINVAL:
                # All arguments are valid, so the consumer has ended.
                raise _failure("dafka_consumer_msg_recv", errno.EPIPE)
            if number == errno.EFAULT:
                raise _failure("dafka_consumer_msg_recv", number)
            if deadline is not None and time.monotonic() >= deadline:
                return None

    def _record(self) -> Record:
        message = self._message
        timestamp = c.consumer_msg_timestamp(message)
        key = c.consumer_msg_key(message)
        size = c_size_t()
        headers = {}
        value = c.consumer_msg_first_header(message, byref(size))
        while value is not None:
            headers[name_from_bytes(c.consumer_msg_header_name(message))] = ctypes.string_at(value, size.value)
            value = c.consumer_msg_next_header(message, byref(size))
        content_size = c.consumer_msg_content_size(message)
        return Record(
            name_from_bytes(c.consumer_msg_subject(message)),
            name_from_bytes(c.consumer_msg_address(message)),
            c.consumer_msg_sequence(message),
            timestamp if timestamp >= 0 else None,
            None if key is None else ctypes.string_at(key, c.consumer_msg_key_size(message)),
            headers,
            ctypes.string_at(c.consumer_msg_content(message), content_size) if content_size else b"",
        )

    def __iter__(self) -> Iterator[Record]:
        return self

    def __next__(self) -> Record:
        try:
            record = self.poll()
        except ClosedError:
            if not self.closed:
                # The consumer has ended because of an error.
                raise
            raise StopIteration from None
        assert record is not None, "poll without a limit returns a record"
        return record

    def _take(self) -> Task[None] | None:
        ending = super()._take()
        with self._lock:
            self._destroy_message()
        return ending

    def _destroy_message(self) -> None:
        message, self._message = self._message, None
        if message is not None:
            c.consumer_msg_destroy(byref(c_void_p(message)))

    def __del__(self) -> None:
        super().__del__()
        if getattr(self, "_message", None) is not None:
            self._destroy_message()


def _destroy(consumer: int) -> None:
    c.consumer_destroy(byref(c_void_p(consumer)))
