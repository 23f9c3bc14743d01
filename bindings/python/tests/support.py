"""A tower and a store for tests, and programs in processes of their own."""

import logging
import os
import subprocess
import sys
import tempfile
import unittest

import dafka

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# A wait that takes longer than this has failed. Seconds.
LIMIT_S = 60

# Log lines would break the lines of the test runner. Tests that read the log use assertLogs.
logging.getLogger("dafka").addHandler(logging.NullHandler())
logging.getLogger("dafka").propagate = False

ANY_PORTS = {"tower": {"sub_address": "tcp://127.0.0.1:*", "pub_address": "tcp://127.0.0.1:*"}}


class NetworkTest(unittest.TestCase):
    """Each test has a tower of its own. `config` is for its nodes."""

    def setUp(self):
        tower = dafka.Tower(ANY_PORTS)
        self.addCleanup(tower.close)
        self.config = {
            **tower.config,
            "beacon/interval": 100,
            "consumer/offset/reset": "earliest",
            # Producers end even if no store acknowledges their records.
            "producer/terminate_unacked": True,
        }

    def store(self, **keys):
        """Starts a store that ends with the test."""
        folder = tempfile.TemporaryDirectory(prefix="dafka-test-")
        self.addCleanup(folder.cleanup)
        store = dafka.Store({**self.config, "store": {"db": os.path.join(folder.name, "db"), **keys}})
        self.addCleanup(store.close)
        return store

    def producer(self, topic, name=None, **keys):
        producer = dafka.Producer(topic, config={**self.config, **keys}, name=name)
        self.addCleanup(producer.close)
        return producer

    def consumer(self, *topics, name=None, group=None, **keys):
        consumer = dafka.Consumer(*topics, config={**self.config, **keys}, name=name, group=group)
        self.addCleanup(consumer.close)
        return consumer

    def take(self, consumer, count):
        """Receives records, and fails when one takes too long."""
        records = []
        for _ in range(count):
            record = consumer.poll(LIMIT_S)
            self.assertIsNotNone(record, f"no record after {len(records)}")
            records.append(record)
        return records

    def program(self, code, **options):
        """Starts a Python program with `dafka` and `config`. Its process is killed at the end of the test."""
        # A program that hangs ends by itself, and prints where it hangs.
        watchdog = f"import faulthandler\nfaulthandler.dump_traceback_later({LIMIT_S}, exit=True)\n"
        head = f"{watchdog}import dafka\nconfig = {self.config!r}\n"
        return start(self, [sys.executable, "-X", "dev", "-c", head + code], **options)


def start(test, command, **options):
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([PACKAGE, os.environ.get("PYTHONPATH", "")]))
    process = subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )

    def end():
        process.kill()
        process.communicate()

    test.addCleanup(end)
    return process
