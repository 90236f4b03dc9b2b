import math
from typing import NamedTuple

import pytest

from lic_jax.errors import LicError
from lic_jax.io.tables import read_csv, write_csv


class Point(NamedTuple):
    name: str
    count: int
    bpp: float


POINTS = [Point("a, b", 3, 0.25), Point('"µ"', -1, math.inf), Point("", 0, 1.23457e-08)]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "folder" / "table.csv"
    write_csv(path, POINTS)
    return path


def test_rows_come_back_with_their_types(table):
    rows = read_csv(table, Point)
    assert rows == POINTS
    assert {type(row) for row in rows} == {Point}
    assert [type(value) for value in rows[0]] == [str, int, float]


def test_columns_are_found_by_name(tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("bpp,commit,count,name\n0.5,abc,2,x\n")
    assert read_csv(path, Point) == [("x", 2, 0.5)]


def test_a_table_of_a_header_alone_has_no_rows(tmp_path):
    path = tmp_path / "empty.csv"
    path.write_text("name,count,bpp\n")
    assert read_csv(path, Point) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: column 'name' is missing; give a table with the columns name, count, bpp"),
        ("name,bpp\nx,1\n", "line 1: column 'count' is missing"),
        ("name,count,bpp\nx,1,2\ny,1\n", "line 3: 2 values for 3 columns; write the table again"),
        ("name,count,bpp\nx,1.5,2\n", "line 2: count is '1.5', not a whole number; correct it"),
        ("name,count,bpp\nx,1,fast\n", "line 2: bpp is 'fast', not a number"),
        ('name,count,bpp\n"x,1,2\n', "is not a CSV file"),
    ],
)
def test_a_damaged_table_is_refused_with_file_line_and_remedy(tmp_path, text, message):
    path = tmp_path / "damaged.csv"
    path.write_text(text)
    with pytest.raises(LicError) as error:
        read_csv(path, Point)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)


def test_what_is_no_text_is_refused(tmp_path):
    path = tmp_path / "picture.csv"
    path.write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(LicError, match="is not a CSV file"):
        read_csv(path, Point)
    with pytest.raises(LicError, match="cannot be read"):
        read_csv(tmp_path / "nowhere.csv", Point)
