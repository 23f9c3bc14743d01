"""Prints the records of a topic as lines of JSON, until Ctrl-C.

usage: consume.py CONFIG TOPIC    (CONFIG: a configuration file, such as c-tests/examples/dafka.cfg)
"""

import json
import logging
import sys

import dafka


def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    _, config, topic = sys.argv
    with dafka.Consumer(topic, config=config) as consumer:
        for record in consumer:
            line = {
                "partition": record.partition,
                "sequence": record.sequence,
                "timestamp": record.timestamp,
                "headers": {name: value.decode() for name, value in record.headers.items()},
                "content": record.content.decode("utf-8", "replace"),
            }
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
