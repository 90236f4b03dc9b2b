"""Reads and writes CSV files whose rows are named tuples of one kind."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, get_type_hints, runtime_checkable

from lic_jax.errors import LicError
from lic_jax.io.files import make_folder, read_bytes, write_bytes


@runtime_checkable
class NamedRow(Protocol):
    """Any named tuple: `typing.NamedTuple` makes such classes, but is none of their bases."""

    @classmethod
    def _make(cls, iterable: Iterable[Any], /) -> Any: ...

    def _asdict(self) -> dict[str, Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


Row = TypeVar("Row", bound=NamedRow)


def write_csv(path: Path, rows: Sequence[NamedRow]) -> None:
    """Writes rows of one kind below their field names, whole or not at all; floats have six digits.

    Raises:
      LicError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0]._asdict().keys())
    for row in rows:
        writer.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in row])
    make_folder(Path(path).parent)
    write_bytes(path, text.getvalue().encode())


def read_csv(path: Path, kind: type[Row]) -> list[Row]:
    """Reads the rows of a table as named tuples.

    Columns are found by name, in any order; columns that the kind does not have are ignored.

    Args:
      path: the file.
      kind: a `NamedTuple` whose fields are `str`, `int` or `float`.

    Raises:
      LicError: the file cannot be read or lacks a column, or a row is cut off or holds another type.
    """
    types = get_type_hints(kind)
    try:
        lines = csv.reader(io.StringIO(read_bytes(path).decode("utf-8"), newline=""), strict=True)
        header = next(lines, [])
        if missing := [name for name in types if name not in header]:
            wanted = ", ".join(types)
            raise LicError(f"{path}, line 1: column {missing[0]!r} is missing; give a table with the columns {wanted}")
        rows = []
        for cells in lines:
            place = f"{path}, line {lines.line_num}"
            if len(cells) != len(header):
                raise LicError(
                    f"{place}: {len(cells)} values for {len(header)} columns; write the table again, or delete the line"
                )
            texts = dict(zip(header, cells, strict=True))
            rows.append(kind._make(_value(place, name, texts[name], type_) for name, type_ in types.items()))
    except (csv.Error, UnicodeDecodeError) as error:
        raise LicError(f"{path} is not a CSV file ({error}); give a table as text in UTF-8") from error
    return rows


def _value(place: str, name: str, text: str, type_: type):
    try:
        return type_(text)
    except ValueError as error:
        kind = {int: "a whole number", float: "a number"}[type_]
        raise LicError(f"{place}: {name} is {text!r}, not {kind}; correct it or write the table again") from error
