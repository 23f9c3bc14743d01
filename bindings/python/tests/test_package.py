"""The package: its wheel, its types, and the programs of its documents."""

import importlib.util
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import tomllib
import typing
import unittest
import zipfile

import dafka

from .support import LIMIT_S, PACKAGE, NetworkTest, start

ROOT = os.path.dirname(os.path.dirname(PACKAGE))


def run(command, **variables):
    """Runs a program until it ends, with more environment variables."""
    environment = dict(os.environ, **variables)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT_S)


def public_members():
    """All functions, methods and properties that a user may call, with their names."""
    for name in dafka.__all__:
        kind = getattr(dafka, name)
        yield name, kind
        for attribute, member in inspect.getmembers(kind):
            if (getattr(member, "__module__", None) or "dafka").startswith("dafka") and not attribute.startswith("_"):
                if isinstance(member, property):
                    yield f"{name}.{attribute}", member.fget
                elif inspect.isfunction(member):
                    yield f"{name}.{attribute}", member


class Package(unittest.TestCase):
    def test_everything_public_is_documented_and_typed(self):
        names = []
        for name, member in public_members():
            names.append(name)
            self.assertTrue(member.__doc__, name)
            if inspect.isfunction(member):
                hints = typing.get_type_hints(member)
                missing = set(inspect.signature(member).parameters) - {"self"} - set(hints)
                self.assertFalse(missing, name)
                self.assertIn("return", hints, name)
        # The check sees something.
        self.assertIn("Producer.send", names)
        self.assertIn("Producer.topic", names)
        self.assertIn("Consumer.poll", names)

    def test_all_versions_are_equal(self):
        with open(os.path.join(PACKAGE, "pyproject.toml"), "rb") as file:
            self.assertEqual(tomllib.load(file)["project"]["version"], dafka.__version__)
        with open(os.path.join(ROOT, "Cargo.toml"), "rb") as file:
            self.assertEqual(tomllib.load(file)["package"]["version"], dafka.__version__)

    def test_the_backend_builds_a_wheel(self):
        with tempfile.TemporaryDirectory() as folder:
            code = "import dafka_build, sys; print(dafka_build.build_wheel(sys.argv[1]))"
            done = run([sys.executable, "-c", code, folder], PYTHONPATH=os.path.join(PACKAGE, "backend"))
            self.assertEqual(done.returncode, 0, done.stderr)
            site = os.path.join(folder, "site")
            # A wheel without compiled parts is installed by unpacking it.
            with zipfile.ZipFile(os.path.join(folder, done.stdout.strip())) as wheel:
                wheel.extractall(site)
            self.check_installed(site)

    def test_pip_builds_and_installs_a_wheel(self):
        if importlib.util.find_spec("pip") is None:
            self.skipTest("this Python has no pip")
        with tempfile.TemporaryDirectory() as folder:
            pip = [sys.executable, "-m", "pip", "--quiet", "--no-cache-dir", "--disable-pip-version-check"]
            site = os.path.join(folder, "site")
            # Builds the wheel, and installs it.
            options = ["--no-index", "--no-deps", "--no-build-isolation", "--target", site]
            done = run([*pip, "install", *options, PACKAGE])
            self.assertEqual(done.returncode, 0, done.stderr)
            self.check_installed(site)

    def check_installed(self, site):
        """Checks the package in a folder of installed packages."""
        self.assertTrue(os.path.exists(os.path.join(site, "dafka", "py.typed")))
        code = "import dafka, importlib.metadata as m; print(dafka.__file__, m.version('dafka'))"
        done = run([sys.executable, "-P", "-c", code], PYTHONPATH=site)
        expected = [os.path.join(site, "dafka", "__init__.py"), dafka.__version__]
        self.assertEqual(done.stdout.split(), expected, done.stderr)

    def test_a_missing_library_is_reported(self):
        code = "import dafka"
        done = run([sys.executable, "-c", code], PYTHONPATH=PACKAGE, DAFKA_LIBRARY="/nonexistent/libdafka.so.0")
        self.assertRegex(done.stderr, "ImportError: cannot load the library: /nonexistent/libdafka.*LD_LIBRARY_PATH")


class Documents(NetworkTest):
    def test_the_programs_of_the_documents_run(self):
        for path in (os.path.join(ROOT, "README.md"), os.path.join(PACKAGE, "README.md")):
            with open(path, encoding="utf-8") as file:
                blocks = re.findall(r"^```python\n(.*?)^```$", file.read(), re.MULTILINE | re.DOTALL)
            self.assertTrue(blocks, path)
            for block in blocks:
                with tempfile.TemporaryDirectory() as folder:
                    # The documents use fixed ports, as a reader would; a test uses free ones.
                    code = re.sub(r"tcp://127\.0\.0\.1:\d+", "tcp://127.0.0.1:*", block)
                    process = start(self, [sys.executable, "-X", "dev", "-W", "error", "-c", code], cwd=folder)
                    output, errors = process.communicate(timeout=LIMIT_S)
                    self.assertEqual(process.returncode, 0, block + errors)
                    self.assertIn("20 degrees", output, block)

    def test_the_examples_run(self):
        self.store()
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "dafka.cfg")
            with open(path, "w", encoding="utf-8") as file:
                for key, value in self.config.items():
                    file.write(f'{key} = "{int(value) if isinstance(value, bool) else value}"\n')
            programs = [os.path.join(PACKAGE, "examples", name) for name in ("produce.py", "consume.py")]
            producer, consumer = (
                start(self, [sys.executable, program, path, "topic"], stdin=subprocess.PIPE) for program in programs
            )
            _, errors = producer.communicate("one\ntwo\n", timeout=LIMIT_S)
            self.assertEqual(producer.returncode, 0, errors)
            self.assertIn("2 records published\n", errors)
            lines = [json.loads(consumer.stdout.readline()) for _ in range(2)]
            self.assertEqual([line["content"] for line in lines], ["one", "two"])
            self.assertEqual([line["headers"] for line in lines], [{"line": "0"}, {"line": "1"}])
            consumer.send_signal(signal.SIGINT)
            consumer.communicate(timeout=LIMIT_S)
            self.assertEqual(consumer.returncode, 130)
