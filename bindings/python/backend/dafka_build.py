"""Builds the wheel and the source archive: a backend as PEP 517 defines it, with Python's standard library only.

The package has no compiled part, so a wheel is a zip archive of its files and their metadata. The usual backends would
have to be downloaded first.
"""

import base64
import hashlib
import io
import os
import tarfile
import tomllib
import zipfile

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# For archives that do not depend on the time of the build: the oldest time that a zip archive can contain.
TIME = (1980, 1, 1, 0, 0, 0)


def _project():
    with open(os.path.join(HERE, "pyproject.toml"), "rb") as file:
        return tomllib.load(file)["project"]


def _metadata(project):
    fields = [
        ("Metadata-Version", "2.4"),
        ("Name", project["name"]),
        ("Version", project["version"]),
        ("Summary", project["description"]),
        ("License-Expression", project["license"]),
        ("Requires-Python", project["requires-python"]),
        ("Keywords", ",".join(project["keywords"])),
        *(("Classifier", classifier) for classifier in project["classifiers"]),
        ("Description-Content-Type", "text/markdown"),
    ]
    with open(os.path.join(HERE, project["readme"]), encoding="utf-8") as file:
        return "".join(f"{name}: {value}\n" for name, value in fields) + "\n" + file.read()


def _files(folder):
    """The files below a folder, with `/` in their names."""
    for parent, folders, names in os.walk(os.path.join(HERE, folder)):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(names):
            yield os.path.relpath(os.path.join(parent, name), HERE)


def _contents(names):
    for name in names:
        with open(os.path.join(HERE, name), "rb") as file:
            yield name, file.read()


def _wheel(folder, contents):
    project = _project()
    stem = f"{project['name']}-{project['version']}"
    info = f"{stem}.dist-info"
    wheel = "Wheel-Version: 1.0\nGenerator: dafka_build\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    entries = [
        *contents,
        (f"{info}/METADATA", _metadata(project).encode()),
        (f"{info}/WHEEL", wheel.encode()),
    ]
    record = ""
    file_name = f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, file_name), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record += f"{name},sha256={digest},{len(data)}\n"
            _add(archive, name, data)
        _add(archive, f"{info}/RECORD", (record + f"{info}/RECORD,,\n").encode())
    return file_name


def _add(archive, name, data):
    entry = zipfile.ZipInfo(name, TIME)
    entry.external_attr = 0o644 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, data)


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    return _wheel(wheel_directory, _contents(_files("dafka")))


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """A wheel that only contains the path of this folder, for `pip install --editable`."""
    return _wheel(wheel_directory, [("dafka-editable.pth", HERE.encode() + b"\n")])


def build_sdist(sdist_directory, config_settings=None):
    project = _project()
    stem = f"{project['name']}-{project['version']}"
    file_name = f"{stem}.tar.gz"
    with tarfile.open(os.path.join(sdist_directory, file_name), "w:gz") as archive:
        for folder in ("dafka", "backend", "tests", "examples"):
            for name in _files(folder):
                archive.add(os.path.join(HERE, name), f"{stem}/{name}")
        for name in ("pyproject.toml", "README.md"):
            archive.add(os.path.join(HERE, name), f"{stem}/{name}")
        information = tarfile.TarInfo(f"{stem}/PKG-INFO")
        data = _metadata(project).encode()
        information.size = len(data)
        archive.addfile(information, io.BytesIO(data))
    return file_name
