"""The exceptions of the package."""


class Error(Exception):
    """The base of all exceptions of this package."""


class StartError(Error):
    """A node cannot start. The text contains the reason that the library logged."""


class ClosedError(Error):
    """The node is closed, has ended, or belongs to the process that forked this one."""


class Timeout(Error, TimeoutError):
    """The time is over. Nothing is lost: the call can be repeated."""


class InvalidArgument(Error, ValueError):
    """The library does not accept an argument, such as a topic or a key that is too long."""


class RecordTooLong(InvalidArgument):
    """The content of a record is longer than `producer/max_record_bytes`."""


class LostTrack(Error):
    """The producer can no longer find out whether all records are acknowledged.

    This happens only if another producer has used the same address for long. Start another producer, and send again
    all records that no earlier flush has confirmed.
    """


class Unsupported(Error, NotImplementedError):
    """The loaded library does not have this function. A newer version of libdafka has it."""
