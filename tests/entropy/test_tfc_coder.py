"""The second coder. Its tables are pure integers and tested everywhere; coding needs the extra tfc."""

import importlib.util
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lic_jax.entropy.coders import tfc_coder
from lic_jax.entropy.coders.coding import decode, encode
from lic_jax.entropy.coders.tfc_coder import least_bits, lookup, sixteen_bits
from lic_jax.entropy.tables import TOTAL, gaussian_tables, information
from lic_jax.errors import LicError
from lic_jax.quantization.fixed_point import FixedPointQuantizer

with_tfc = pytest.mark.skipif(
    not importlib.util.find_spec("tensorflow_compression"), reason="needs the extra tfc (make test-tfc)"
)
PARTS = 1 << 16


weights = st.lists(st.one_of(st.just(0), st.integers(0, TOTAL)), min_size=1, max_size=300)


@settings(max_examples=200)
@given(weights)
@example([0, 0, 0])
@example([TOTAL - 1, 1])
@example([1, 0, 0, 1])
def test_parts_are_in_proportion_and_no_weight_is_left_without(weights):
    (edges,) = sixteen_bits(np.array([weights]))
    widths = np.diff(edges)
    assert (edges[0], edges[-1]) == (0, PARTS)
    if any(weights):
        np.testing.assert_array_equal(widths > 0, np.array(weights) > 0)
        share = np.array(weights) / sum(weights)
        assert np.all(np.abs(widths / PARTS - share) <= (1 + np.count_nonzero(weights)) / PARTS)


@settings(max_examples=100)
@given(st.integers(0, 2**32 - 1), st.integers(2, 300))
def test_every_symbol_has_a_code_in_one_step_or_in_two(random_tables, seed, symbols):
    tables = random_tables(seed, 3, symbols)
    rows = lookup(tables)
    assert rows.dtype == np.int32 and np.all(rows[:, 0] == 16)
    first, second = np.split(np.diff(rows[:, 1:], axis=1), 2)
    assert np.all((first[:, :-1] > 0) == (tables >= 256))
    assert np.all((second[:, :-1] > 0)[tables < 256])
    np.testing.assert_array_equal(first[:, -1] > 0, np.any(tables < 256, axis=1))


@pytest.mark.parametrize("components", [30, 254])
def test_the_coarser_tables_cost_next_to_nothing(components):
    """A Gaussian's expected bits by sixteen-bit tables, two steps where there are two, are those of our tables."""
    thresholds = (np.arange(components) - (components - 1) / 2) * 4096
    quantizer = FixedPointQuantizer(np.full(components, 4096), thresholds.astype(np.int64))
    tables = gaussian_tables(quantizer)
    first, second = np.split(np.diff(lookup(tables)[:, 1:], axis=1), 2)
    rare = tables < 256
    with np.errstate(divide="ignore"):
        bits = 16 - np.log2(first[:, :-1])
        bits[rare] = (32 - np.log2(first[:, -1:]) - np.log2(second[:, :-1]))[rare]
    share = tables / TOTAL
    ideal, found = (np.sum(share * values, axis=1) for values in (information(tables), bits))
    assert np.all(found - ideal < 2e-3 * ideal + 2e-4)


def test_the_least_bits_are_never_more_than_a_symbol_costs(random_tables):
    tables = random_tables(0, 20)
    assert np.all(least_bits(tables) <= information(tables.max(axis=1)) + 1e-3)
    lopsided = np.array([[1, TOTAL - 1], [TOTAL // 2, TOTAL // 2]])
    np.testing.assert_allclose(least_bits(lopsided), [0, 1], atol=1e-4)


def test_data_too_short_for_its_symbols_is_refused_before_decoding():
    with pytest.raises(LicError, match="too short for its 1000000 symbols"):
        decode(b"", np.zeros(10**6, int), np.array([[TOTAL // 2, TOTAL // 2]]), "tfc")


def test_an_unknown_coder_is_named(random_tables):
    with pytest.raises(LicError, match="coder 'gzip' is unknown; known: constriction, tfc"):
        encode(np.zeros(1, int), np.zeros(1, int), random_tables(0), "gzip")


def test_without_tensorflow_compression_the_extra_is_named(random_tables, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_compression", None)
    tables, nothing = random_tables(0), np.zeros(1, int)
    for code in (lambda: encode(nothing, nothing, tables, "tfc"), lambda: decode(b"", nothing, tables, "tfc")):
        with pytest.raises(LicError, match=r"coder tfc needs tensorflow_compression, .* install lic-jax\[tfc\]"):
            code()


@with_tfc
@settings(max_examples=100)
@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(1, 64), st.integers(0, 500))
def test_what_is_decoded_is_what_was_encoded(random_tables, random_message, seed, symbols, count, length):
    tables = random_tables(seed, count, symbols)
    message, index = random_message(tables, length, seed)
    data = encode(message, index, tables, "tfc")
    found = decode(data, index, tables, "tfc")
    assert isinstance(data, bytes) and found.dtype == np.int16
    np.testing.assert_array_equal(found, message)


@with_tfc
@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 200))
def test_any_symbol_can_be_coded_however_unlikely(random_tables, seed, length):
    tables = random_tables(seed)
    rng = np.random.default_rng(seed)
    message, index = rng.integers(tables.shape[1], size=length), rng.integers(len(tables), size=length)
    data = encode(message, index, tables, "tfc")
    np.testing.assert_array_equal(decode(data, index, tables, "tfc"), message)


@with_tfc
@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 10, 1000, 30000]))
def test_the_length_is_the_information_and_eight_bytes_at_most(random_tables, random_message, seed, length):
    tables = random_tables(seed)
    message, index = random_message(tables, length, seed)
    ideal = np.sum(information(tables)[index, message]) / 8
    assert ideal - 5 <= len(encode(message, index, tables, "tfc")) <= 1.002 * ideal + 8


def decode_as_specified(data, index, tables):
    """A range decoder in Python's integers, written from docs/bitstream.md."""
    rows = lookup(tables)[:, 1:].tolist()
    data = iter(data + bytes(10**5))
    word = lambda: next(data) << 8 | next(data)
    base, size, point = 0, 2**32, word() << 16 | word()

    def read(row):
        nonlocal base, size, point
        edges = [size * edge >> 16 for edge in rows[row]]
        symbol = next(k for k in range(len(edges) - 1) if (point - base) % 2**32 < edges[k + 1])
        base, size = (base + edges[symbol]) % 2**32, edges[symbol + 1] - edges[symbol]
        if size <= 2**16:
            base, size, point = (base << 16) % 2**32, size << 16, (point << 16 | word()) % 2**32
        return symbol

    symbols = np.array([read(row) for row in index], int)
    for position in np.flatnonzero(symbols == tables.shape[1]):
        symbols[position] = read(len(tables) + index[position])
    return symbols


@with_tfc
@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 300))
def test_a_decoder_written_from_the_specification_reads_the_bytes(random_tables, random_message, seed, length):
    tables = random_tables(seed)
    message, index = random_message(tables, length, seed)
    np.testing.assert_array_equal(decode_as_specified(encode(message, index, tables, "tfc"), index, tables), message)


def test_a_stream_that_was_written_once_stays_readable():
    """By the decoder in Python's integers here, by tensorflow-compression where it is installed."""
    table = np.array([[1, TOTAL // 2, TOTAL // 4, TOTAL // 4 - 1]])
    written = bytes.fromhex(WRITTEN)
    message, index = np.arange(40) % 4, np.zeros(40, int)
    np.testing.assert_array_equal(decode_as_specified(written, index, table), message)
    if importlib.util.find_spec("tensorflow_compression"):
        assert encode(message, index, table, "tfc") == written
        np.testing.assert_array_equal(decode(written, index, table, "tfc"), message)


WRITTEN = "fffebffcec02cebffcebffcec0046c0c6ec0fcebffcec0046c"


@with_tfc
def test_pieces_and_what_holds_the_integers_make_no_difference(random_tables, random_message, monkeypatch):
    tables = random_tables(3)
    message, index = random_message(tables, 300, 3)
    data = encode(message, index, tables, "tfc")
    for kind in (np.uint8, np.int16, np.int64):
        assert encode(message.astype(kind), index.astype(kind), tables, "tfc") == data
    monkeypatch.setattr(tfc_coder, "_CHUNK", 7)
    assert encode(message, index, tables, "tfc") == data
    np.testing.assert_array_equal(decode(data, index, tables, "tfc"), message)


@with_tfc
@settings(max_examples=200)
@given(st.integers(0, 2**32 - 1), st.binary(max_size=64), st.integers(0, 200))
def test_foreign_bytes_decode_to_symbols_of_the_tables_or_to_one_clear_error(random_tables, seed, data, length):
    tables = random_tables(seed)
    index = np.random.default_rng(seed).integers(len(tables), size=length)
    try:
        found = decode(data, index, tables, "tfc")
    except LicError as error:
        assert "damaged" in str(error)
    else:
        assert found.shape == (length,)
        assert np.all((found >= 0) & (found < tables.shape[1]))


@with_tfc
def test_a_truncated_or_changed_code_gives_other_symbols_or_the_error(random_tables, random_message):
    tables = random_tables(5)
    message, index = random_message(tables, 400, 5)
    data = encode(message, index, tables, "tfc")
    changed = [data[:length] for length in range(len(data))]
    changed += [data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :] for place in range(0, len(data) - 4, 3)]
    for other in changed:
        try:
            found = decode(other, index, tables, "tfc")
        except LicError:
            continue
        assert not np.array_equal(found, message)


@with_tfc
def test_bytes_after_the_code_are_an_error(random_tables, random_message):
    tables = random_tables(5)
    message, index = random_message(tables, 400, 5)
    data = encode(message, index, tables, "tfc")
    for excess in (bytes(400), b"\xff" * 400):
        with pytest.raises(LicError, match="goes on after its last symbol"):
            decode(data + excess, index, tables, "tfc")
