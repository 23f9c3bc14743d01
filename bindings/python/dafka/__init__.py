"""Dafka: decentralized, distributed streaming on ZeroMQ.

Producers publish records to topics, consumers read them, and stores keep them on disk::

    import dafka

    with dafka.Producer("weather") as producer:
        producer.send(b"20 degrees", key=b"Berlin")

    with dafka.Consumer("weather", config={"consumer/offset/reset": "earliest"}) as consumer:
        for record in consumer:
            print(record.partition, record.sequence, record.key, record.content)

The package calls the C library libdafka through ctypes. doc/configuration.md of the library lists the keys of a
configuration. Log lines of the library go to the logger "dafka" of Python's logging.

Signals: Python handles them. Ctrl-C ends every wait of this package with KeyboardInterrupt, within about 0.25 s.

Threads: several threads may use one producer at the same time. Only one thread at a time may receive from a consumer.
Any thread may close a node. Do not use a node in a signal handler: the handler may interrupt a method of the node.

Fork: a forked process cannot use its parent's nodes: their methods raise ClosedError there. The process can start its
own nodes. It holds copies of its parent's connections until it ends.
"""

from .consumer import Consumer, Record
from .errors import (
    ClosedError,
    Error,
    InvalidArgument,
    LostTrack,
    RecordTooLong,
    StartError,
    Timeout,
    Unsupported,
)
from .producer import Producer
from .store import Store
from .tower import Tower

__version__ = "0.2.0"

__all__ = [
    "ClosedError",
    "Consumer",
    "Error",
    "InvalidArgument",
    "LostTrack",
    "Producer",
    "Record",
    "RecordTooLong",
    "StartError",
    "Store",
    "Timeout",
    "Tower",
    "Unsupported",
]
