"""Signals, the end of a process, and forks."""

import os
import signal
import threading
import unittest.mock

import dafka
from dafka import _library

from .support import LIMIT_S, NetworkTest

# Programs that wait in a method: the name of the method, and the code.
WAITS = {
    "iteration": ("__next__", "for record in dafka.Consumer('topic', config=config): pass"),
    "poll": ("poll", "dafka.Consumer('topic', config=config).poll()"),
    "poll with a timeout": ("poll", "dafka.Consumer('topic', config=config).poll(60)"),
    "start": (
        "__init__",
        "dafka.Consumer('topic', config={**config, 'beacon/sub_address': 'tcp://127.0.0.1:1',"
        " 'beacon/pub_address': 'tcp://127.0.0.1:1', 'beacon/connect_timeout': -1})",
    ),
    "close": (
        "close",
        "p = dafka.Producer('other', config={**config, 'producer/terminate_unacked': 0}); p.send('x'); p.close()",
    ),
}
# Only with a library that has the functions.
FLUSH_WAITS = {
    "flush": ("flush", "p = dafka.Producer('other', config=config); p.send('x'); p.flush()"),
    "send": (
        "send",
        "p = dafka.Producer('other', config={**config, 'producer/max_unacked_bytes': 1000})\n"
        "    while True: p.send(bytes(1000))",
    ),
}
WAIT = """
import sys, threading, time
def is_waiting():
    frame = sys._current_frames()[threading.main_thread().ident]
    while frame is not None:
        if frame.f_code.co_name == {0!r} and "dafka" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
def watch():
    # The method runs for half a second: then it waits.
    count = 0
    while count < 50:
        count = count + 1 if is_waiting() else 0
        time.sleep(0.01)
    print("waiting", flush=True)
threading.Thread(target=watch, daemon=True).start()
try:
    {1}
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.exit(3)
"""


class Processes(NetworkTest):
    def test_control_c_ends_every_wait(self):
        waits = dict(WAITS)
        if _library.producer_flush is not None and _library.producer_msg_try_send is not None:
            waits.update(FLUSH_WAITS)
        processes = {name: self.program(WAIT.format(method, code)) for name, (method, code) in waits.items()}
        for name, process in processes.items():
            line = process.stdout.readline()
            self.assertEqual(line, "waiting\n", name if line else f"{name}: {process.stderr.read()}")
            process.send_signal(signal.SIGINT)
        for name, process in processes.items():
            with self.subTest(name):
                self.assertEqual(process.stdout.readline(), "interrupted\n", name)
                output, errors = process.communicate(timeout=LIMIT_S)
                self.assertEqual((process.returncode, output), (3, ""), errors)

    def test_a_block_that_raises_does_not_wait_for_ever(self):
        code = """
with dafka.Producer("topic", config={**config, "producer/terminate_unacked": 0}) as producer:
    producer.send(b"never acknowledged")
    from dafka import _node
    _node._END_S = 0.2
    raise RuntimeError("of the block")
"""
        _, errors = self.program(code).communicate(timeout=LIMIT_S)
        self.assertIn("RuntimeError: of the block", errors)
        self.assertIn("has not ended within 0.2 s", errors)

    def test_close_with_a_timeout(self):
        producer = dafka.Producer("topic", config={**self.config, "producer/terminate_unacked": False})
        producer.send(b"waits")
        with self.assertRaises(dafka.Timeout):
            producer.close(0.1)
        # The producer continues to wait for a store.
        self.store()
        producer.close(LIMIT_S)

    def test_a_process_may_end_without_closing_its_nodes(self):
        code = """
import sys
tower = dafka.Tower({"tower/sub_address": "inproc://sub", "tower/pub_address": "inproc://pub"})
producer = dafka.Producer("topic", config={**config, "producer/terminate_unacked": 0})
consumer = dafka.Consumer("topic", config=config)
producer.send(b"x")
assert consumer.poll(30).content == b"x"
closed = dafka.Producer("topic", config=config)
closed.close()
dropped = dafka.Consumer("topic", config=config)
del dropped
def cycle():
    a = dafka.Consumer("topic", config=config)
    b = [a]
    a.b = b
cycle()
sys.exit(4)
"""
        process = self.program(code)
        _, errors = process.communicate(timeout=LIMIT_S)
        self.assertEqual(process.returncode, 4, errors)
        self.assertIn("ResourceWarning", errors)
        self.assertNotIn("Exception ignored", errors)
        self.assertNotIn("Traceback", errors)
        self.assertNotIn("is closed", errors)

    def test_the_end_of_a_process_waits_for_dropped_producers(self):
        self.store()
        code = """
def publish():
    dafka.Producer("dropped", config={**config, "producer/terminate_unacked": 0}).send(b"x")
publish()
"""
        process = self.program(code)
        _, errors = process.communicate(timeout=LIMIT_S)
        self.assertEqual(process.returncode, 0, errors)
        (record,) = self.take(self.consumer("dropped"), 1)
        self.assertEqual(record.content, b"x")

    def test_the_end_of_a_process_waits_once_for_all_producers(self):
        code = """
from dafka import _node
_node._END_S = 1
config["producer/terminate_unacked"] = 0
producers = [dafka.Producer("topic", config=config) for _ in range(3)]
for producer in producers:
    producer.send(b"never acknowledged")
def flush(self, timeout):
    print(timeout)
    return original(self, timeout)
original, dafka.Producer.flush = dafka.Producer.flush, flush
"""
        if _library.producer_flush is None:
            self.skipTest("the library has no dafka_producer_flush")
        output, errors = self.program(code).communicate(timeout=LIMIT_S)
        first, *others = map(float, output.split())
        self.assertLessEqual(first, 1, errors)
        self.assertEqual(others, [0, 0], errors)

    def test_the_stores_of_a_process_end_after_its_dropped_producers(self):
        # A function that runs after the package has ended its nodes.
        code = """
import atexit, tempfile
from dafka import _node
atexit.unregister(_node._at_exit)
folder = tempfile.TemporaryDirectory()
atexit.register(lambda: print([end.is_over() for end in ends]))
atexit.register(_node._at_exit)
def publish():
    dafka.Producer("dropped", config={**config, "producer/terminate_unacked": 0}).send(b"x")
publish()
ends = list(_node._ends)
store = dafka.Store({**config, "store/db": folder.name + "/db"})
"""
        output, errors = self.program(code).communicate(timeout=LIMIT_S)
        self.assertEqual(output, "[True]\n", errors)

    def test_an_interrupted_close_can_be_repeated(self):
        producer = dafka.Producer("topic", config=self.config)
        consumer = dafka.Consumer("topic", config=self.config)
        for node in (producer, consumer):
            with unittest.mock.patch.object(threading.Thread, "start", side_effect=KeyboardInterrupt):
                self.assertRaises(KeyboardInterrupt, node.close)
            self.assertTrue(node.closed)
            with unittest.mock.patch.object(node, "_destroy", wraps=node._destroy) as destroy:
                node.close()
                node.close()
            destroy.assert_called_once()

    def test_an_interrupted_poll_releases_its_locks(self):
        class Interrupt(Exception):
            pass

        def interrupt(*_):
            raise Interrupt

        before = signal.signal(signal.SIGALRM, interrupt)
        self.addCleanup(signal.signal, signal.SIGALRM, before)
        consumer = self.consumer("topic")
        # If an exception at any step kept a lock, this would happen to some of the interruptions.
        for number in range(2000):
            with self.assertRaises(Interrupt):
                signal.setitimer(signal.ITIMER_REAL, 1e-4 + number % 100 * 1e-6)
                while True:
                    consumer.poll(0)
        self.assertFalse(consumer._gate.locked())
        free = []

        def try_lock():
            free.append(consumer._lock.acquire(blocking=False))
            if free[0]:
                consumer._lock.release()

        thread = threading.Thread(target=try_lock)
        thread.start()
        thread.join()
        self.assertEqual(free, [True])

    def test_a_forked_process_cannot_use_nodes_of_its_parent(self):
        # The child's producer ends before the consumer may have met it. The consumer gets its record from the store.
        self.store()
        code = """
import os
config["producer/terminate_unacked"] = 0
producer = dafka.Producer("topic", config=config)
consumer = dafka.Consumer("topic", config=config)
if os.fork() == 0:
    for call in (lambda: producer.send(b"x"), lambda: consumer.poll(0)):
        try:
            call()
            os._exit(5)
        except dafka.ClosedError as error:
            assert "forked" in str(error)
    producer.close()
    consumer.close()
    with dafka.Producer("topic", config=config) as own:
        own.send(b"child")
    os._exit(0)
_, status = os.wait()
producer.send(b"parent")
with consumer, producer:
    print(status, sorted(record.content for record in (consumer.poll(30), consumer.poll(30))))
"""
        output, errors = self.program(code).communicate(timeout=LIMIT_S)
        self.assertEqual(output, "0 [b'child', b'parent']\n", errors)

    def test_python_keeps_its_signal_handlers(self):
        self.consumer("topic")
        self.assertIs(signal.getsignal(signal.SIGINT), signal.default_int_handler)
        received = []
        before = signal.signal(signal.SIGUSR1, lambda *_: received.append(1))
        self.addCleanup(signal.signal, signal.SIGUSR1, before)
        os.kill(os.getpid(), signal.SIGUSR1)
        self.assertIsNone(self.consumer("topic").poll(0.1))
        self.assertEqual(received, [1])
