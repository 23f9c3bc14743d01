"""The functions of libdafka and CZMQ that the package calls, declared for ctypes.

`ctypes.CDLL` releases the interpreter's lock during a call, so that other threads run. `ctypes.PyDLL` keeps it. Short
functions that read or write memory are called through `PyDLL`, because this is faster.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_uint64, c_void_p
from typing import Any, Callable

from .errors import Unsupported

LIBRARY = "libdafka.so.0"
CZMQ = "libczmq.so.4"

# Events of a ZeroMQ socket.
POLLIN = 1


class ProducerArgs(ctypes.Structure):
    _fields_ = [("topic", c_char_p), ("config", c_void_p)]


class ConsumerArgs(ctypes.Structure):
    _fields_ = [("config", c_void_p), ("record_sink", c_void_p)]


def _load() -> tuple[str, ctypes.CDLL, ctypes.PyDLL, ctypes.CDLL]:
    path = os.environ.get("DAFKA_LIBRARY") or LIBRARY
    try:
        # libdafka brings in CZMQ.
        return path, ctypes.CDLL(path, use_errno=True), ctypes.PyDLL(path, use_errno=True), ctypes.CDLL(CZMQ)
    except OSError as error:
        raise ImportError(
            f"cannot load the library: {error}. Install libdafka. If it is in a folder that the system does not"
            " search, set LD_LIBRARY_PATH to the folder, or DAFKA_LIBRARY to the path of the library."
        ) from error


_path, _waiting, _short, _czmq = _load()


def _declared(library: ctypes.CDLL, name: str, result: Any, parameters: tuple[Any, ...]) -> Any:
    try:
        function = library[name]
    except AttributeError:
        return None
    function.restype = result
    function.argtypes = parameters
    return function


def _required(library: ctypes.CDLL, name: str, result: Any, *parameters: Any) -> Any:
    function = _declared(library, name, result, parameters)
    if function is None:
        raise ImportError(f"{_path} has no function {name}: this package needs libdafka 0.2.0 or later")
    return function


def _optional(name: str, result: Any, *parameters: Any) -> Any:
    return _declared(_waiting, name, result, parameters)


def supported(function: Any, name: str) -> Callable[..., Any]:
    """Returns an optional function.

    Raises `Unsupported` if the loaded library does not have it.
    """
    if function is None:
        raise Unsupported(f"{_path} has no function {name}: a newer version of libdafka has it")
    return function  # type: ignore[no-any-return]


# Objects of C are void pointers here. A destructor gets a pointer to such a pointer.
_OBJECT = c_void_p
_OBJECT_P = POINTER(c_void_p)
_SIZE_P = POINTER(c_size_t)

zsys_init = _required(_czmq, "zsys_init", c_void_p)
zsys_handler_set = _required(_czmq, "zsys_handler_set", None, c_void_p)
zsys_set_logstream = _required(_czmq, "zsys_set_logstream", None, c_void_p)
zactor_new = _required(_czmq, "zactor_new", _OBJECT, c_void_p, c_void_p)
zactor_destroy = _required(_czmq, "zactor_destroy", None, _OBJECT_P)
zsock_events = _required(_czmq, "zsock_events", c_int, _OBJECT)
zsock_set_rcvtimeo = _required(_czmq, "zsock_set_rcvtimeo", None, _OBJECT, c_int)
zconfig_new = _required(_czmq, "zconfig_new", _OBJECT, c_char_p, _OBJECT)
zconfig_load = _required(_czmq, "zconfig_load", _OBJECT, c_char_p)
zconfig_put = _required(_czmq, "zconfig_put", None, _OBJECT, c_char_p, c_char_p)
zconfig_child = _required(_czmq, "zconfig_child", _OBJECT, _OBJECT)
zconfig_next = _required(_czmq, "zconfig_next", _OBJECT, _OBJECT)
zconfig_name = _required(_czmq, "zconfig_name", c_char_p, _OBJECT)
zconfig_value = _required(_czmq, "zconfig_value", c_char_p, _OBJECT)
zconfig_destroy = _required(_czmq, "zconfig_destroy", None, _OBJECT_P)

# Functions for zactor_new.
producer_actor = ctypes.cast(_waiting["dafka_producer"], c_void_p)
tower_actor = ctypes.cast(_waiting["dafka_tower_actor"], c_void_p)
store_actor = ctypes.cast(_waiting["dafka_store_actor"], c_void_p)

producer_address = _required(_waiting, "dafka_producer_address", c_char_p, _OBJECT)
producer_flush = _optional("dafka_producer_flush", c_int, _OBJECT, c_int)
producer_unacked = _optional("dafka_producer_unacked", c_int64, _OBJECT)
producer_acked = _optional("dafka_producer_acked", c_int, _OBJECT, POINTER(c_uint64))

producer_msg_new = _required(_short, "dafka_producer_msg_new", _OBJECT)
producer_msg_destroy = _required(_short, "dafka_producer_msg_destroy", None, _OBJECT_P)
producer_msg_set_content = _required(
    _waiting, "dafka_producer_msg_set_content_buffer", c_int, _OBJECT, c_char_p, c_size_t
)
producer_msg_set_key = _required(_short, "dafka_producer_msg_set_key", c_int, _OBJECT, c_char_p, c_size_t)
producer_msg_set_header = _required(
    _short, "dafka_producer_msg_set_header", c_int, _OBJECT, c_char_p, c_char_p, c_size_t
)
producer_msg_set_timestamp = _required(_short, "dafka_producer_msg_set_timestamp", None, _OBJECT, c_int64)
producer_msg_send = _required(_waiting, "dafka_producer_msg_send", c_int, _OBJECT, _OBJECT)
producer_msg_try_send = _optional("dafka_producer_msg_try_send", c_int, _OBJECT, _OBJECT)

consumer_new = _required(_waiting, "dafka_consumer_new", _OBJECT, POINTER(ConsumerArgs))
consumer_destroy = _required(_waiting, "dafka_consumer_destroy", None, _OBJECT_P)
consumer_address = _required(_waiting, "dafka_consumer_address", c_char_p, _OBJECT)
consumer_subscribe = _required(_waiting, "dafka_consumer_subscribe", c_int, _OBJECT, c_char_p)
consumer_seek = _required(_waiting, "dafka_consumer_seek", c_int, _OBJECT, c_char_p, c_char_p, c_uint64)
consumer_seek_time = _required(_waiting, "dafka_consumer_seek_time", c_int, _OBJECT, c_char_p, c_int64)
consumer_seek_end = _required(_waiting, "dafka_consumer_seek_end", c_int, _OBJECT, c_char_p)
consumer_pause = _required(_waiting, "dafka_consumer_pause", c_int, _OBJECT, c_char_p)
consumer_resume = _required(_waiting, "dafka_consumer_resume", c_int, _OBJECT, c_char_p)
consumer_commit = _required(_waiting, "dafka_consumer_commit", c_int, _OBJECT)
consumer_commit_msg = _required(_waiting, "dafka_consumer_commit_msg", c_int, _OBJECT, _OBJECT)
consumer_lag = _required(_waiting, "dafka_consumer_lag", c_int64, _OBJECT, c_char_p)
consumer_unsubscribe = _required(_waiting, "dafka_consumer_unsubscribe", c_int, _OBJECT, c_char_p)
consumer_record_source = _required(_waiting, "dafka_consumer_record_source", _OBJECT, _OBJECT)

consumer_msg_new = _required(_short, "dafka_consumer_msg_new", _OBJECT)
consumer_msg_destroy = _required(_short, "dafka_consumer_msg_destroy", None, _OBJECT_P)
consumer_msg_recv = _required(_waiting, "dafka_consumer_msg_recv", c_int, _OBJECT, _OBJECT)
consumer_msg_subject = _required(_short, "dafka_consumer_msg_subject", c_char_p, _OBJECT)
consumer_msg_address = _required(_short, "dafka_consumer_msg_address", c_char_p, _OBJECT)
consumer_msg_content = _required(_short, "dafka_consumer_msg_content", c_void_p, _OBJECT)
consumer_msg_content_size = _required(_short, "dafka_consumer_msg_content_size", c_size_t, _OBJECT)
consumer_msg_sequence = _required(_short, "dafka_consumer_msg_sequence", c_uint64, _OBJECT)
consumer_msg_timestamp = _required(_short, "dafka_consumer_msg_timestamp", c_int64, _OBJECT)
consumer_msg_key = _required(_short, "dafka_consumer_msg_key", c_void_p, _OBJECT)
consumer_msg_key_size = _required(_short, "dafka_consumer_msg_key_size", c_size_t, _OBJECT)
consumer_msg_first_header = _required(_short, "dafka_consumer_msg_first_header", c_void_p, _OBJECT, _SIZE_P)
consumer_msg_next_header = _required(_short, "dafka_consumer_msg_next_header", c_void_p, _OBJECT, _SIZE_P)
consumer_msg_header_name = _required(_short, "dafka_consumer_msg_header_name", c_char_p, _OBJECT)

# CZMQ must not catch SIGINT and SIGTERM: Python handles the signals of the process.
zsys_handler_set(None)
