"""Errors as exceptions, and log lines in Python's logging."""

import contextlib
import ctypes
import errno
import io
import logging
import os
import tempfile
import time
import unittest.mock

import dafka
from dafka import _config, _library, _log

from .support import ANY_PORTS, LIMIT_S, NetworkTest


class Errors(NetworkTest):
    def test_the_exceptions_form_a_hierarchy(self):
        for kind in (dafka.StartError, dafka.ClosedError, dafka.Timeout, dafka.InvalidArgument, dafka.Unsupported):
            self.assertTrue(issubclass(kind, dafka.Error))
        self.assertTrue(issubclass(dafka.Timeout, TimeoutError))
        self.assertTrue(issubclass(dafka.RecordTooLong, dafka.InvalidArgument))
        self.assertTrue(issubclass(dafka.InvalidArgument, ValueError))

    def test_nodes_that_cannot_start_say_why(self):
        with self.assertRaisesRegex(dafka.StartError, "topic"):
            dafka.Producer("", config=self.config)
        with self.assertRaisesRegex(dafka.StartError, "topic"):
            dafka.Producer("x" * 256, config=self.config)
        with self.assertRaisesRegex(dafka.StartError, "127.0.0.1"):
            dafka.Tower(
                {
                    "tower/sub_address": self.config["beacon/sub_address"],
                    "tower/pub_address": self.config["beacon/pub_address"],
                }
            )
        with tempfile.NamedTemporaryFile() as file:
            with self.assertRaisesRegex(dafka.StartError, file.name):
                dafka.Store({**self.config, "store/db": file.name})

    def test_arguments_that_the_library_refuses(self):
        consumer = self.consumer()
        with self.assertRaisesRegex(dafka.InvalidArgument, "255"):
            consumer.subscribe("x" * 256)
        with self.assertRaisesRegex(dafka.InvalidArgument, "NUL"):
            consumer.subscribe("x\0")
        self.assertEqual(consumer.topics, [])
        with self.assertRaisesRegex(dafka.InvalidArgument, "255"):
            dafka.Consumer("x" * 256, config=self.config)
        producer = self.producer("topic")
        with self.assertRaisesRegex(dafka.InvalidArgument, "65,?535"):
            producer.send(b"", key=bytes(65_536))
        with self.assertRaisesRegex(dafka.InvalidArgument, "65,?535"):
            producer.send(b"", headers={"name": bytes(65_536)})
        with self.assertRaisesRegex(dafka.InvalidArgument, "255"):
            producer.send(b"", headers={"x" * 256: b""})
        for wrong in (1, None, ["x"]):
            with self.assertRaises(TypeError):
                producer.send(wrong)
        # None of them has left a trace.
        producer.send(b"right")
        (record,) = self.take(self.consumer("topic"), 1)
        self.assertEqual((record.sequence, record.content, record.key, record.headers), (0, b"right", None, {}))

    def test_a_record_that_is_too_long(self):
        producer = self.producer("topic", **{"producer/max_record_bytes": 100})
        expected = dafka.Error if _library.producer_msg_try_send is None else dafka.RecordTooLong
        with self.assertRaisesRegex(expected, "100"):
            producer.send(bytes(101))
        producer.send(bytes(100))

    def test_closed_nodes(self):
        producer = self.producer("topic")
        consumer = self.consumer("topic")
        for node in (producer, consumer):
            node.close()
            node.close()
            self.assertTrue(node.closed)
            with self.assertRaises(dafka.ClosedError), node:
                pass
        with self.assertRaises(dafka.ClosedError):
            producer.send(b"")
        with self.assertRaises(dafka.ClosedError):
            consumer.poll(0)
        with self.assertRaises(dafka.ClosedError):
            consumer.subscribe("topic")
        self.assertEqual(list(consumer), [])
        # The address is still known.
        self.assertEqual(len(producer.address), 32)

    def test_a_function_that_the_library_does_not_have(self):
        with self.assertRaisesRegex(dafka.Unsupported, "dafka_missing"):
            _library.supported(None, "dafka_missing")

    def test_log_lines_go_to_the_logger_of_the_package(self):
        with self.assertLogs("dafka", "WARNING") as logs:
            self.consumer(**{"consumer/max_unread_bytes": "many"})
            self.wait_for_line(logs, "many")

    def test_an_exception_of_a_filter_loses_one_line(self):
        def refuse(record):
            if "first" in record.getMessage():
                raise RuntimeError("of the filter")
            return True

        logger = logging.getLogger("dafka")
        logger.addFilter(refuse)
        self.addCleanup(logger.removeFilter, refuse)
        with self.assertLogs("dafka", "WARNING") as logs, contextlib.redirect_stderr(io.StringIO()) as errors:
            for text in ("first", "second"):
                self.consumer(**{"consumer/max_unread_bytes": text})
            self.wait_for_line(logs, "second")
        self.assertIn("RuntimeError: of the filter", errors.getvalue())

    def wait_for_line(self, logs, text):
        due = time.monotonic() + LIMIT_S
        while not any(text in line for line in logs.output):
            self.assertLess(time.monotonic(), due, logs.output)
            time.sleep(0.01)

    def test_an_error_of_another_node_does_not_prevent_a_start(self):
        store = self.store()
        make = _library.zactor_new
        send = _library._czmq["zstr_send"]
        send.argtypes = (ctypes.c_void_p, ctypes.c_char_p)

        def make_while_the_store_logs_an_error(actor, args):
            made = make(actor, args)
            errors = _log.count()
            send(store._object, b"NONSENSE")
            due = time.monotonic() + LIMIT_S
            while not _log.errors_since(errors) and time.monotonic() < due:
                time.sleep(0.001)
            return made

        with (
            unittest.mock.patch.object(_library, "zactor_new", make_while_the_store_logs_an_error),
            unittest.mock.patch("dafka.store._END_S", 0.1),
        ):
            self.assertFalse(self.store().closed)
            with self.assertRaisesRegex(dafka.StartError, "cannot bind") as raised:
                dafka.Tower({"tower/sub_address": self.config["beacon/sub_address"]})
        self.assertNotIn("NONSENSE", str(raised.exception))

    def test_a_consumer_that_has_ended(self):
        consumer = self.consumer("topic")

        def fail(*_):
            ctypes.set_errno(number)
            return -1

        with unittest.mock.patch.multiple(_library, consumer_msg_recv=fail, consumer_pause=fail):
            number = errno.EINVAL
            # The package cannot rely on the log, whose lines may be lost.
            for call in (lambda: consumer.poll(LIMIT_S), lambda: next(consumer)):
                with self.assertRaisesRegex(dafka.ClosedError, "has ended"):
                    call()
            number = errno.EPIPE
            with self.assertRaisesRegex(dafka.ClosedError, "has ended"):
                consumer.pause("topic")


class Configuration(NetworkTest):
    def test_a_configuration_is_a_dict_or_a_file(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "tower.cfg")
            with open(path, "w", encoding="utf-8") as file:
                file.write('tower\n    sub_address = "tcp://127.0.0.1:*"\n    pub_address = "tcp://127.0.0.1:*"\n')
            inproc = {"tower/sub_address": "inproc://py-sub", "tower/pub_address": b"inproc://py-pub"}
            for config in (path, ANY_PORTS, inproc):
                with dafka.Tower(config) as tower:
                    self.assertEqual(sorted(tower.config), ["beacon/pub_address", "beacon/sub_address"])
                    with dafka.Consumer("topic", config=tower.config):
                        pass

    def test_a_file_of_the_caller_gets_the_addresses(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "endpoints.cfg")
            with dafka.Tower({**ANY_PORTS, "tower/endpoints_file": path}) as tower:
                with open(path, encoding="utf-8") as file:
                    self.assertIn(tower.config["beacon/sub_address"], file.read())
                with dafka.Consumer("topic", config=path):
                    pass

    def test_a_tower_does_not_use_the_file_of_an_earlier_tower(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "endpoints.cfg")
            with open(path, "w", encoding="utf-8") as file:
                file.write('beacon/sub_address = "tcp://127.0.0.1:1"\nbeacon/pub_address = "tcp://127.0.0.1:2"\n')
            with self.assertRaisesRegex(dafka.StartError, "cannot bind"):
                used = self.config["beacon/sub_address"]
                dafka.Tower({"tower/sub_address": used, "tower/endpoints_file": path})
            with dafka.Tower({**ANY_PORTS, "tower/endpoints_file": path}) as tower:
                self.assertNotEqual(tower.config["beacon/sub_address"], "tcp://127.0.0.1:1")

    def test_a_file_may_contain_keys_with_slashes(self):
        with tempfile.TemporaryDirectory() as folder:
            path, endpoints = os.path.join(folder, "tower.cfg"), os.path.join(folder, "endpoints.cfg")
            with open(path, "w", encoding="utf-8") as file:
                file.write('tower/sub_address = "tcp://127.0.0.1:*"\ntower/pub_address = "tcp://127.0.0.1:*"\n')
                file.write(f'tower/endpoints_file = "{endpoints}"\n')
                file.write("consumer\n    offset/reset = earliest\nproducer\nproducer/terminate_unacked = 1\n")
            with dafka.Tower(path) as tower:
                with open(endpoints, encoding="utf-8") as file:
                    self.assertIn(tower.config["beacon/sub_address"], file.read())
            tree = _config.Tree(path)
            self.assertEqual(tree.get(b"consumer/offset/reset"), b"earliest")
            self.assertEqual(tree.get(b"producer/terminate_unacked"), b"1")
            self.assertIsNone(tree.get(b"consumer/offset/res"))

    def test_invalid_configurations(self):
        for config in (1, ["a"], {"store/db": 1.5}, {"store": ["a"]}, {1: "a"}):
            with self.assertRaises(TypeError):
                dafka.Consumer(config=config)
        with self.assertRaises(dafka.InvalidArgument):
            dafka.Consumer(config={"store/db": "a\0b"})
        with self.assertRaisesRegex(dafka.InvalidArgument, "/nonexistent/file"):
            dafka.Consumer(config="/nonexistent/file")
