"""The files that a question answers with, and what tells where they came from.

Beside each table lies its provenance, `annealing.json` beside `annealing.csv`: the commit, the device, the seed and all
settings with their digest. The table itself stays plain. Tables older than this have what the history tells, "recorded"
afterwards; which settings made them is not known, so a new run does not replace them unasked.

    def main(settings):
        answer = Answer(settings, "annealing.csv", "annealing.png")   # refuses here, before any work
        ...
        answer.write("annealing.csv", rows)
        draw(rows, answer.path("annealing.png"))
        print(answer)
"""

import dataclasses
import functools
import hashlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax

from experiments.lab.kept import DIGITS, files_digest
from lic_jax.errors import LicError
from lic_jax.io.files import check_writable, make_folder, read_bytes, write_bytes
from lic_jax.io.images import image_paths
from lic_jax.io.tables import write_csv

PLACES = ("out", "folder", "csv", "results", "overwrite")
"""Settings that say where files lie and decide nothing of what they hold."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Output:
    """Where a question writes.

    Attributes:
      out: the folder of the tables and pictures.
      overwrite: replaces tables that were made with other settings.
    """

    out: Path = Path("results")
    overwrite: bool = False


class Answer:
    """The tables and pictures of one run of a question."""

    def __init__(self, settings, *names: str):
        """Makes the folder and checks that nothing in it is lost.

        Args:
          settings: a dataclass of the question's settings, an `Output` among its bases.
          names: the files that the question writes.

        Raises:
          LicError: the folder cannot be written to, or a table is there that was made with other settings.
        """
        self._paths = {name: settings.out / name for name in names}
        self._provenance = provenance(settings)
        make_folder(settings.out)
        for path in self._paths.values():
            check_writable(path)
            if path.suffix == ".csv" and path.exists() and not settings.overwrite:
                _check_settings(path, self._provenance)

    def path(self, name: str) -> Path:
        """Where one of the files lies."""
        return self._paths[name]

    def write(self, name: str, rows: Sequence[NamedTuple]) -> None:
        """Writes a table and its provenance beside it."""
        _write(self.path(name), rows, self._provenance)

    def __str__(self):
        first, *others = self._paths.values()
        return ", ".join([str(first), *(path.name for path in others)]) + " written"


def write_table(path: Path, rows: Sequence[NamedTuple], settings) -> None:
    """Writes the one table of a tool, and its provenance beside it; a table that is there is replaced."""
    _write(path, rows, provenance(settings))


def _write(path: Path, rows: Sequence[NamedTuple], made_by: dict) -> None:
    write_csv(path, rows)
    write_bytes(provenance_path(path), (json.dumps(made_by, indent=1, ensure_ascii=False) + "\n").encode())


def provenance_path(table: Path) -> Path:
    """The file that tells where a table came from."""
    return table.with_suffix(".json")


def provenance(settings) -> dict:
    """Where results that are made now come from, as JSON holds it."""
    own = described(settings)
    device = jax.devices()[0]
    return {
        **code_version(),
        "platform": device.platform,
        "device": device.device_kind,
        "seed": own.get("seed", own.get("training", {}).get("seed")),
        "settings": own,
        "settings_digest": hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:DIGITS],
    }


def described(settings) -> dict:
    """Settings as JSON holds them, without places.

    A file or folder is described by its name and a digest of its images or its bytes: moved, it is the same.
    """
    fields = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    return {name: _described(value) for name, value in fields.items() if name not in PLACES}


def _described(value):
    if dataclasses.is_dataclass(value):
        return described(value)
    if isinstance(value, tuple):
        return [_described(item) for item in value]
    if isinstance(value, str) and value.endswith(".safetensors"):  # a model by its file, not by its name
        value = Path(value)
    if isinstance(value, Path):
        paths = [value] if value.is_file() else image_paths(value)
        return {"name": value.name, "digest": files_digest(paths)[:DIGITS]}
    return value


@functools.cache
def code_version() -> dict:
    """The commit of the code that runs, and whether tracked files differ from it; both None outside of a repository."""

    def git(*arguments: str) -> str:
        process = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
        return process.stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "--short=12", "HEAD"),
            "uncommitted_changes": bool(git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "uncommitted_changes": None}


def _check_settings(table: Path, new: dict) -> None:
    """Raises LicError unless a table that is there was made with the same settings."""
    remedy = "give --out another folder, or --overwrite"
    beside = provenance_path(table)
    try:
        old = json.loads(read_bytes(beside)) if beside.exists() else {}
        old_settings, old_digest = dict(old.get("settings", {})), old.get("settings_digest")
    except (AttributeError, TypeError, ValueError) as error:
        raise LicError(f"{beside} is damaged ({error!r}); {remedy}") from error
    if old_digest is None:
        raise LicError(f"{table} is there and does not say with which settings it was made; {remedy}")
    if old_digest != new["settings_digest"]:
        raise LicError(f"{table} was made with other settings ({_difference(old_settings, new['settings'])}); {remedy}")


def _difference(old: dict, new: dict) -> str:
    """The first setting that differs, in words."""
    for name in (*new, *old):
        before, now = old.get(name), new.get(name)
        if before == now:
            continue
        if isinstance(before, dict) and isinstance(now, dict):
            if "name" not in now:
                return _difference(before, now)
            if before.get("name") == now["name"]:
                return f"{name}: {now['name']} holds other files now"
        return f"{name} {_short(before)}, now {_short(now)}"
    return "in another order"


def _short(value) -> str:
    return value["name"] if isinstance(value, dict) and "name" in value else json.dumps(value, ensure_ascii=False)
