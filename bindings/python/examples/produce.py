"""Publishes each line of standard input as a record.

usage: produce.py CONFIG TOPIC    (CONFIG: a configuration file, such as c-tests/examples/dafka.cfg)
"""

import logging
import sys

import dafka


def main() -> int:
    logging.basicConfig(level=logging.WARNING)
    _, config, topic = sys.argv
    count = 0
    producer = dafka.Producer(topic, config=config)
    try:
        for line in sys.stdin:
            producer.send(line.rstrip("\n"), headers={"line": str(count)})
            count += 1
        # Waits until a store has all records on disk.
        producer.close(timeout=30)
    except (dafka.Timeout, KeyboardInterrupt):
        print("records may be lost: no store has acknowledged all of them", file=sys.stderr)
        return 3
    print(f"{count} records published", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
