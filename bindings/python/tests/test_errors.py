"""Errors as exceptions, and log lines in Python's logging."""

import os
import tempfile
import time

import dafka
from dafka import _library

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
            due = time.monotonic() + LIMIT_S
            while not any("many" in line for line in _until(logs)) and time.monotonic() < due:
                time.sleep(0.01)
            self.assertTrue(any("many" in line for line in logs.output))


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

    def test_invalid_configurations(self):
        for config in (1, ["a"], {"store/db": 1.5}, {"store": ["a"]}, {1: "a"}):
            with self.assertRaises(TypeError):
                dafka.Consumer(config=config)
        with self.assertRaises(dafka.InvalidArgument):
            dafka.Consumer(config={"store/db": "a\0b"})
        with self.assertRaisesRegex(dafka.InvalidArgument, "/nonexistent/file"):
            dafka.Consumer(config="/nonexistent/file")


def _until(logs):
    """The lines that the log has when the reading thread has read all of them."""
    from dafka import _log

    _log.start().read()
    return logs.output
