#!/usr/bin/env python3
"""Does what the README of the examples tells a reader to type, and compares what is printed with what it shows.

usage: run-readme.py PREFIX    (a PREFIX that the library is installed to)
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

here = os.path.dirname(os.path.abspath(__file__))


def fail(text):
    sys.exit(f"run-readme: {text}")


readme = open(os.path.join(here, "README.md"), encoding="utf-8").read()
blocks = re.findall(r"^```(sh|text)\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
# Each block of commands with its expected output. The first block builds, the last one ends the background programs.
steps = []
for language, text in blocks:
    if language == "sh":
        steps.append([text, ""])
    else:
        steps[-1][1] += text
programs = sorted(name for name in os.listdir(here) if name.endswith(".c"))
for name in programs:
    if not re.search(rf"^for name in [^;]*\b{name[:-2]}\b", steps[0][0], re.MULTILINE) or f"]({name})" not in readme:
        fail(f"the README does not tell of {name}")
if [bool(expected) for _, expected in steps] != [False, True, True, True, True, True, True, True, True, True, False]:
    fail("unexpected blocks")

with tempfile.TemporaryDirectory() as home:
    # The same CMake rules have installed to the staging prefix, in place of `make install`.
    os.symlink(os.path.abspath(sys.argv[1]), os.path.join(home, "dafka"))
    directory = os.path.join(home, "examples")
    os.mkdir(directory)
    for name in programs + ["dafka.cfg"]:
        shutil.copy(os.path.join(here, name), directory)

    # One shell for all blocks, with job control, as a reader uses it. A marker line separates their output.
    mark = "-- end of block --"
    script = "".join(f"{commands}echo '{mark}'\n" for commands, _ in steps)
    # Kills all background programs at the end. (A program that ends at that moment cannot be killed.)
    script = "trap 'trap - EXIT; kill -KILL $(jobs -p) 2>/dev/null || :; wait || :' EXIT\n" + script
    # Includes standard error, as on a terminal, since wordcount reports there.
    with open(os.path.join(home, "output"), "w+", encoding="utf-8") as output:
        environment = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
        environment["HOME"] = home
        shell = subprocess.Popen(
            ["bash", "-e", "-o", "pipefail", "-m", "-c", script],
            cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        )
        try:
            status = shell.wait(timeout=180)
        except subprocess.TimeoutExpired:
            shell.terminate()
            shell.wait()
            status = "a time limit"
        output.seek(0)
        printed = output.read()
    if status != 0:
        fail(f"the shell ended with {status}:\n{printed}")


def counts(text):
    """What is not certain, by the README's own words, in what processors and readers say."""
    text = re.sub(r"^wordcount: begins at record [0-2] of ADDRESS\n", "", text, flags=re.MULTILINE)
    return re.sub(r"[0-9]+ repetitions dropped$", "N repetitions dropped", text, flags=re.MULTILINE)


outputs = printed.split(mark + "\n")
for (commands, expected), output in zip(steps, outputs):
    output = re.sub(r"\b[0-9A-F]{32}\b", "ADDRESS", output)
    # Reports of the shell on its jobs, of processors that end, and of nodes whose tower ends before they do, or
    # begins late
    reports = r"^(\[[0-9]+\].*|bash: .*|wordcount: [0-9]+ records done.*|W: .*)\n"
    output = re.sub(reports, "", output, flags=re.MULTILINE)
    if counts(output) != counts(expected):
        fail(f"this printed other lines than expected:\n{commands}\n{output}")
print("run-readme: the programs print what the README shows")
