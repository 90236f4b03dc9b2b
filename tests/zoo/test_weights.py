import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from lic_jax.errors import LicError
from lic_jax.zoo.weights import flatten, load_metadata, load_part, load_weights, save_weights, unflatten

TREE = {
    "analysis": {
        "linear": {"kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4), "bias": np.zeros(4, np.float32)}
    },
    "quantizers": {"thresholds": np.arange(-5, 5, dtype=np.int64)},
}
METADATA = {"config": '{"analysis": "cnn"}', "note": "λ = 0,01\nsecond line"}

names = st.text("abk_0.é", min_size=1, max_size=4)
leaves = st.builds(
    lambda kind, shape: np.arange(1, 1 + np.prod(shape), dtype=np.int64).reshape(shape).astype(kind),
    st.sampled_from([np.float32, np.float16, np.float64, np.int32, np.int64, np.uint8, np.bool_]),
    st.sampled_from([(1,), (3,), (0, 2), (2, 3), (2, 1, 3, 2)]),
)
branches = st.dictionaries(names, leaves, min_size=1, max_size=3)
trees = st.dictionaries(
    names, st.one_of(leaves, branches, st.dictionaries(names, branches, min_size=1, max_size=2)), min_size=1, max_size=3
)


def assert_same(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name in expected:
            assert_same(found[name], expected[name])
    else:
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        np.testing.assert_array_equal(found, expected)


@settings(max_examples=50)
@given(trees)
def test_unflatten_is_the_inverse_of_flatten(tree):
    assert_same(unflatten(flatten(tree)), tree)
    assert all(isinstance(leaf, np.ndarray) for leaf in flatten(tree).values())


@settings(max_examples=50)
@given(trees, st.dictionaries(st.text(max_size=10), st.text(max_size=20), max_size=3))
def test_what_is_loaded_is_what_was_saved(tmp_path_factory, tree, metadata):
    path = tmp_path_factory.mktemp("weights") / "some.safetensors"
    save_weights(path, tree, metadata)
    found, found_metadata = load_weights(path)
    assert load_metadata(path) == found_metadata
    assert_same(found, tree)
    assert found_metadata.pop("digest")
    assert found_metadata == metadata


@settings(max_examples=50)
@given(trees, st.lists(names, max_size=3))
def test_a_part_is_what_is_named_so(tmp_path_factory, tree, prefixes):
    path = tmp_path_factory.mktemp("weights") / "some.safetensors"
    save_weights(path, tree, METADATA)
    found, metadata = load_part(path, tuple(prefixes))
    expected = {name: leaf for name, leaf in flatten(tree).items() if name.startswith(tuple(prefixes))}
    assert_same(found, unflatten(expected))
    assert metadata == load_metadata(path)


def test_of_a_part_and_of_metadata_nothing_else_is_read(tmp_path):
    """Not a page of it: a file whose rest is a hole of 64 gigabytes is read in no time."""
    save_weights(tmp_path / "weights", {"a": np.arange(3), "b": np.ones(5)}, METADATA)
    text, body = split(tmp_path / "weights")
    header = json.loads(text)
    header["c"] = {"dtype": "U8", "shape": [2**36], "data_offsets": [len(body), len(body) + 2**36]}
    (tmp_path / "huge").write_bytes(raw(header, body))
    os.truncate(tmp_path / "huge", len(raw(header, body)) + 2**36)
    found, metadata = load_part(tmp_path / "huge", ("a", "b"))
    assert_same(found, {"a": np.arange(3), "b": np.ones(5)})
    assert load_metadata(tmp_path / "huge") == metadata


def split(path):
    """(header text, body) of a safetensors file."""
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    return data[8:end], data[end:]


def test_whatever_is_changed_in_a_file_the_digest_says_so(tmp_path):
    path = tmp_path / "weights"
    save_weights(path, TREE, METADATA)
    text, body = split(path)
    for old, new in ((b"[2,3,4]", b"[3,2,4]"), (b"I64", b"U64"), (b"second line", b"other line."), (b"bias", b"bigs")):
        assert text.count(old) == 1
        path.write_bytes(struct.pack("<Q", len(text)) + text.replace(old, new) + body)
        with pytest.raises(LicError, match=r"is damaged \(its contents do not match its digest"):
            load_weights(path)
    for position in range(0, len(body), 5):
        damaged = bytearray(body)
        damaged[position] ^= 1
        path.write_bytes(struct.pack("<Q", len(text)) + text + damaged)
        with pytest.raises(LicError, match=r"is damaged \(its contents do not match its digest"):
            load_weights(path)


def test_arrays_of_any_layout_and_of_jax_are_saved_by_their_values(tmp_path):
    import jax.numpy as jnp

    base = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    tree = {"transposed": base.T, "strided": base[:, ::2], "reversed": base[::-1], "jax": jnp.asarray(base)}
    save_weights(tmp_path / "weights", tree, {})
    found, _ = load_weights(tmp_path / "weights")
    for name, array in tree.items():
        np.testing.assert_array_equal(found[name], array)


def test_a_scalar_stays_a_scalar(tmp_path):
    """A single quantizer's `middle` is one."""
    save_weights(tmp_path / "weights", {"middle": np.float32(0.5)}, {})
    assert load_weights(tmp_path / "weights")[0]["middle"].shape == ()


def test_loaded_arrays_are_the_readers_own(tmp_path):
    save_weights(tmp_path / "weights", TREE, METADATA)
    found, _ = load_weights(tmp_path / "weights")
    found["quantizers"]["thresholds"][:] = 0
    again, _ = load_weights(tmp_path / "weights")
    assert_same(again, TREE)


def test_a_file_without_metadata_has_none(tmp_path):
    save_file({"a/b": np.zeros(3)}, tmp_path / "weights")
    tree, metadata = load_weights(tmp_path / "weights")
    assert_same(tree, {"a": {"b": np.zeros(3)}})
    assert metadata == {}


def test_saving_makes_the_folders_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "folder" / "weights.safetensors"
    save_weights(path, TREE, METADATA)
    save_weights(path, TREE, METADATA)
    assert [entry.name for entry in path.parent.iterdir()] == ["weights.safetensors"]


def test_weights_that_cannot_be_saved_leave_the_old_file(tmp_path):
    path = tmp_path / "weights"
    save_weights(path, TREE, METADATA)
    before = path.read_bytes()
    for tree, metadata in (({"a": np.array(["text"])}, {}), (TREE, {"steps": 3}), ({"a": np.array([None])}, {})):
        with pytest.raises(Exception):  # noqa: B017 (a defect of ours, whatever its kind)
            save_weights(path, tree, metadata)
        assert path.read_bytes() == before
        assert [entry.name for entry in tmp_path.iterdir()] == ["weights"]


KILLED = """
import os, pathlib, sys
import numpy as np
from lic_jax.zoo.weights import save_weights

def half(self, data, write=pathlib.Path.write_bytes):
    write(self, data[: len(data) // 2])
    os._exit(9)

pathlib.Path.write_bytes = half
save_weights(sys.argv[1], {"a": np.zeros(1000)}, {})
"""


def test_a_machine_that_stops_in_the_middle_leaves_the_old_file(tmp_path):
    path = tmp_path / "weights"
    save_weights(path, TREE, METADATA)
    before = path.read_bytes()
    root = Path(__file__).resolve().parents[2]
    process = subprocess.run([sys.executable, "-c", KILLED, path], cwd=root)
    assert process.returncode == 9
    assert path.read_bytes() == before


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "weights"
    save_weights(path, TREE, METADATA)
    before = path.read_bytes()
    write = Path.write_bytes

    def disk_full(self, data):
        write(self, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", disk_full)
    with pytest.raises(LicError, match="No space left on device"):
        save_weights(path, {"a": np.zeros(1000)}, {})
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["weights"]


def raw(header, body=b""):
    """A safetensors file with this header."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def tensor(kind, shape, end):
    return {"dtype": kind, "shape": shape, "data_offsets": [0, end]}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"LIC",
        b"\xff" * 100,
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        struct.pack("<Q", 2**40) + b"{}",
        raw({"a": tensor("F32", [2**40], 2**42)}),
        raw({"a": tensor("F32", [2], 8)}, b"1234"),
        raw({"a": tensor("F32", [3], 8)}, b"12345678"),
        raw({"a": tensor("U8", [-1], 1)}, b"1"),
        raw({"a": tensor("PICKLE", [1], 1)}, b"1"),
        raw({"__metadata__": {"config": {}}}),
        raw({"a": tensor("F32", [2], 8), "b": tensor("F32", [2], 8)}, b"12345678"),
        raw({"a": tensor("F32", [2], 8)}, b"123456789"),
        struct.pack("<Q", 100_000) + b"[" * 100_000,
    ],
    ids=range(14),
)
def test_a_file_that_is_not_one_of_weights_is_named(tmp_path, data):
    path = tmp_path / "foreign"
    path.write_bytes(data)
    with pytest.raises(LicError, match=r"foreign is not a weights file of lic \(.*\); train or copy it again"):
        load_weights(path)


def test_every_truncation_of_a_file_is_named(tmp_path):
    save_weights(tmp_path / "whole", TREE, METADATA)
    data, path = (tmp_path / "whole").read_bytes(), tmp_path / "part"
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(LicError, match="part is not a weights file"):
            load_weights(path)


@pytest.mark.parametrize(
    "data",
    [
        raw({"a": tensor("U8", [1], 1), "a/b": {"dtype": "U8", "shape": [1], "data_offsets": [1, 2]}}, b"12"),
        raw({"a": tensor("F8_E4M3", [2], 2)}, b"12"),
    ],
    ids=["a name below a leaf", "8-bit floats"],
)
def test_a_readable_file_with_unusable_arrays_is_named(tmp_path, data):
    path = tmp_path / "odd"
    path.write_bytes(data)
    with pytest.raises(LicError, match="odd is not a weights file"):
        load_weights(path)


def test_an_absent_file_is_named(tmp_path):
    for path in (tmp_path / "absent.safetensors", tmp_path):
        with pytest.raises(LicError, match=f"no weights file {path}"):
            load_weights(path)


def test_reading_weights_needs_no_machine_learning_framework():
    program = "import sys, lic_jax.zoo.weights; print('jax' in sys.modules, 'torch' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.check_output([sys.executable, "-c", program], cwd=root, text=True).split() == ["False", "False"]
