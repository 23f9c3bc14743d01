"""Records from producers to consumers, directly and through a store."""

import math
import re
import tempfile
import threading
import time
import unittest.mock

import dafka
from dafka import _library

from .support import LIMIT_S, NetworkTest


class Streams(NetworkTest):
    def test_a_record_arrives_with_all_its_attributes(self):
        producer = self.producer("weather")
        consumer = self.consumer("weather")
        before = int(time.time() * 1000)
        producer.send(b"plain")
        producer.send(b"\0\xff", key=b"\0k", headers={"one": b"1\0", "zwei \u00fc": ""}, timestamp=123)
        producer.send("text \u00fc", key="", headers=[("a", "x"), ("a", bytearray(b"y"))])
        producer.send(b"")
        plain, full, text, empty = self.take(consumer, 4)
        self.assertEqual([record.sequence for record in (plain, full, text, empty)], [0, 1, 2, 3])
        for record in (plain, full, text, empty):
            self.assertEqual((record.topic, record.partition), ("weather", producer.address))
        self.assertEqual((plain.content, plain.key, plain.headers), (b"plain", None, {}))
        self.assertLess(abs(plain.timestamp - before), 1000 * LIMIT_S)
        self.assertEqual((full.content, full.key, full.timestamp), (b"\0\xff", b"\0k", 123))
        self.assertEqual(list(full.headers.items()), [("one", b"1\0"), ("zwei \u00fc", b"")])
        self.assertEqual((text.content, text.key, text.headers), ("text \u00fc".encode(), b"", {"a": b"y"}))
        self.assertEqual((empty.content, empty.key, empty.headers), (b"", None, {}))

    def test_a_store_replays_the_records_of_a_producer_that_has_ended(self):
        self.store()
        with dafka.Producer("weather", config={**self.config, "producer/terminate_unacked": False}) as producer:
            for number in range(1000):
                producer.send(str(number), key=b"k%d" % number, headers={"n": str(number)})
        self.assertTrue(producer.closed)
        records = self.take(self.consumer("weather"), 1000)
        self.assertEqual([int(record.content) for record in records], list(range(1000)))
        self.assertEqual([record.key for record in records], [b"k%d" % number for number in range(1000)])
        self.assertEqual(records[7].headers, {"n": b"7"})

    def test_topics_can_be_added_and_removed(self):
        one, two = self.producer("one"), self.producer("two")
        consumer = self.consumer("one")
        one.send(b"1")
        self.assertEqual([record.topic for record in self.take(consumer, 1)], ["one"])
        consumer.subscribe("two")
        self.assertEqual(consumer.topics, ["one", "two"])
        two.send(b"2")
        self.assertEqual([record.topic for record in self.take(consumer, 1)], ["two"])
        consumer.unsubscribe("one")
        self.assertEqual(consumer.topics, ["two"])
        one.send(b"not received")
        two.send(b"3")
        self.assertEqual([record.content for record in self.take(consumer, 1)], [b"3"])

    def test_a_consumer_changes_its_position_and_pauses_topics(self):
        one, two = self.producer("one"), self.producer("two")
        consumer = self.consumer("one", "two")
        for number in range(3):
            one.send(str(number))
        first = self.take(consumer, 3)[0]
        consumer.seek("one", first.partition, 1)
        self.assertEqual([record.content for record in self.take(consumer, 2)], [b"1", b"2"])
        consumer.seek_time("one", 0)
        self.assertEqual([record.content for record in self.take(consumer, 3)], [b"0", b"1", b"2"])
        consumer.seek_time("one", first.timestamp + 3_600_000)
        consumer.seek_end("one")
        consumer.pause("one")
        one.send(b"3")
        two.send(b"x")
        self.assertEqual([record.content for record in self.take(consumer, 1)], [b"x"])
        consumer.resume("one")
        self.assertEqual([record.content for record in self.take(consumer, 1)], [b"3"])
        self.assertEqual(consumer.lag(), 0)
        for call in (
            lambda: consumer.pause("three"),
            lambda: consumer.seek("one", first.partition, -1),
            lambda: consumer.seek_time("three", 0),
            lambda: consumer.seek_time("one", 2**63),
            lambda: consumer.seek_end("three"),
        ):
            self.assertRaises(dafka.InvalidArgument, call)

    def test_a_consumer_with_a_name_continues_where_it_has_committed(self):
        self.store()
        producer = self.producer("weather")
        for number in range(10):
            producer.send(str(number))
        manual = {"consumer/commit": "manual"}

        def next_three():
            consumer = self.consumer("weather", name="me", **manual)
            records = self.take(consumer, 3)
            return consumer, records, [int(record.content) for record in records]

        consumer, records, numbers = next_three()
        self.assertEqual(numbers, [0, 1, 2])
        self.assertIsNone(consumer.commit(records[2]))
        with self.assertRaises(dafka.InvalidArgument):
            consumer.commit(records[0])
        self.take(consumer, 2)
        consumer.close()
        consumer, _, numbers = next_three()
        self.assertEqual(numbers, [3, 4, 5])
        consumer.commit()
        consumer.close()
        self.assertRaises(dafka.ClosedError, consumer.commit)
        consumer, _, numbers = next_three()
        self.assertEqual(numbers, [6, 7, 8])
        self.assertRaises(dafka.InvalidArgument, self.consumer("weather").commit)

    def test_a_producer_with_a_name_continues_its_partition(self):
        self.store()
        folder = tempfile.TemporaryDirectory(prefix="dafka-test-")
        self.addCleanup(folder.cleanup)
        directory = {"producer/directory": folder.name}
        for number in range(3):
            with self.producer("weather", name="station", **directory) as producer:
                producer.send(str(number))
                producer.flush(LIMIT_S)
        consumer = self.consumer("weather")
        records = self.take(consumer, 3)
        self.assertEqual([(record.sequence, record.content) for record in records], [(0, b"0"), (1, b"1"), (2, b"2")])
        self.assertEqual(len({record.partition for record in records}), 1)

    def test_consumers_of_a_group_share_the_records(self):
        self.store()
        producer = self.producer("jobs")
        contents = [str(number).encode() for number in range(200)]
        consumers = [self.consumer("jobs", group="workers") for _ in range(2)]
        counts = [0, 0]
        received = []
        for content in contents:
            producer.send(content)
        while len(received) < len(contents):
            for number, consumer in enumerate(consumers):
                while (record := consumer.poll(0.02)) is not None:
                    received.append(record.content)
                    counts[number] += 1
        self.assertEqual(sorted(received), sorted(contents))
        self.assertTrue(all(count > 50 for count in counts), counts)

    def test_a_commit_without_a_store_raises_timeout(self):
        producer = self.producer("weather")
        producer.send(b"0")
        consumer = self.consumer("weather", **{"consumer/name": "me"})
        self.take(consumer, 1)
        self.assertRaises(dafka.Timeout, consumer.commit)

    def test_poll_returns_none_after_its_timeout(self):
        consumer = self.consumer("nothing")
        self.assertIsNone(consumer.poll(0))
        for timeout in (0.05, 0.4):
            start = time.monotonic()
            self.assertIsNone(consumer.poll(timeout))
            self.assertGreaterEqual(time.monotonic() - start, timeout - 0.002)

    def test_an_infinite_timeout_is_no_limit(self):
        producer = self.producer("infinite")
        consumer = self.consumer("infinite")
        producer.send(b"content", timeout=math.inf)
        self.assertEqual(consumer.poll(math.inf).content, b"content")
        consumer.close(math.inf)
        if _library.producer_flush is not None:
            self.store()
            producer.flush(math.inf)

    def test_a_hundred_thousand_records_leave_no_memory_behind(self):
        self.store(sync="never")
        producer = self.producer("many", **{"producer/max_unacked_bytes": 4_000_000})
        consumer = self.consumer("many", **{"consumer/max_unread_bytes": 4_000_000})
        count = 100_000
        content = bytes(1000)

        early = None
        for number in range(0, count, 1000):
            for i in range(number, number + 1000):
                producer.send(content, key=b"%d" % i, headers={"name": b"value"})
            for i in range(number, number + 1000):
                record = consumer.poll(LIMIT_S)
                if record is None or (record.sequence, record.key) != (i, b"%d" % i):
                    self.fail(f"received {record} as record {i}")
            if number == count // 4:
                early = memory_bytes()
        # The buffers of the nodes may grow by 30 MB. If the records leaked, they would take 75 MB.
        self.assertLess(memory_bytes() - early, 45_000_000)

    def test_several_threads_use_one_producer(self):
        producer = self.producer("threads")

        def send(name):
            for number in range(1000):
                producer.send(b"%d" % number, key=name)

        names = [b"a", b"b", b"c"]
        threads = [threading.Thread(target=send, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        records = self.take(self.consumer("threads"), 3000)
        for thread in threads:
            thread.join()
        for name in names:
            mine = [int(record.content) for record in records if record.key == name]
            self.assertEqual(mine, list(range(1000)))

    def test_another_thread_ends_an_iteration(self):
        producer = self.producer("endless")
        consumer = self.consumer("endless")
        producer.send(b"first")
        received = threading.Event()

        def close():
            received.wait(LIMIT_S)
            consumer.close()

        thread = threading.Thread(target=close)
        thread.start()
        contents = []
        for record in consumer:
            contents.append(record.content)
            received.set()
        thread.join()
        self.assertEqual(contents, [b"first"])
        self.assertTrue(consumer.closed)

    def test_other_python_threads_run_while_a_consumer_waits(self):
        producer = self.producer("later")
        consumer = self.consumer("later")
        # One call of the C function lasts until the other thread has sent the record.
        with unittest.mock.patch("dafka.consumer._STEP_MS", 1000 * LIMIT_S):
            thread = threading.Timer(0.2, producer.send, [b"content"])
            thread.start()
            start = time.monotonic()
            record = consumer.poll()
            thread.join()
        self.assertEqual(record.content, b"content")
        self.assertLess(time.monotonic() - start, LIMIT_S / 2)


class Acknowledgements(NetworkTest):
    def setUp(self):
        super().setUp()
        if _library.producer_flush is None:
            self.skipTest("the library has no dafka_producer_flush")

    def test_flush_waits_for_a_store(self):
        producer = self.producer("durable")
        producer.flush(0)
        self.assertEqual((producer.unacked, producer.acked), (0, None))
        producer.send(b"1")
        self.assertTrue(producer.try_send(b"2"))
        with self.assertRaises(dafka.Timeout):
            producer.flush(0.15)
        with self.assertRaises(TimeoutError):
            producer.flush(0)
        self.assertEqual((producer.unacked, producer.acked), (2, None))
        self.store()
        producer.flush(LIMIT_S)
        self.assertEqual((producer.unacked, producer.acked), (0, 1))

    def test_a_full_producer_refuses_records(self):
        producer = self.producer("full", **{"producer/max_unacked_bytes": 100_000})
        sent = 0
        while producer.try_send(bytes(10_000), key=b"k"):
            sent += 1
            self.assertLess(sent, 10_000)
        with self.assertRaises(dafka.Timeout):
            producer.send(bytes(10_000), timeout=0.05)
        self.store()
        producer.send(b"last", timeout=LIMIT_S)
        records = self.take(self.consumer("full"), sent + 1)
        # What a refused message contained is gone.
        self.assertEqual((records[-1].content, records[-1].key), (b"last", None))


def memory_bytes():
    """The memory of this process, without its files: the store maps its database into memory."""
    with open("/proc/self/status", encoding="ascii") as file:
        return 1024 * int(re.search(r"^RssAnon:\s+(\d+) kB$", file.read(), re.MULTILINE).group(1))
