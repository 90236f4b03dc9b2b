import constriction
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_jax.entropy.coders.coding import decode, encode
from lic_jax.entropy.coders.constriction_coder import _model
from lic_jax.entropy.tables import TOTAL, information
from lic_jax.errors import LicError


@settings(max_examples=100)
@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(1, 64), st.integers(0, 500))
def test_what_is_decoded_is_what_was_encoded(random_tables, random_message, seed, symbols, count, length):
    tables = random_tables(seed, count, symbols)
    message, index = random_message(tables, length, seed)
    data = encode(message, index, tables)
    found = decode(data, index, tables)
    assert isinstance(data, bytes)
    assert len(data) % 4 == 0
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, message)


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 200))
def test_any_symbol_can_be_coded_however_unlikely(random_tables, seed, length):
    tables = random_tables(seed)
    rng = np.random.default_rng(seed)
    message, index = rng.integers(tables.shape[1], size=length), rng.integers(len(tables), size=length)
    np.testing.assert_array_equal(decode(encode(message, index, tables), index, tables), message)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 10, 1000, 30000]))
def test_the_length_is_the_information_and_eight_bytes_at_most(random_tables, random_message, seed, length):
    tables = random_tables(seed)
    message, index = random_message(tables, length, seed)
    ideal = np.sum(information(tables)[index, message]) / 8
    found = len(encode(message, index, tables))
    assert ideal - 1 <= found <= 1.0001 * ideal + 8


def test_nothing_is_coded_in_nothing(random_tables):
    tables = random_tables(0)
    nothing = np.zeros(0, np.int64)
    assert encode(nothing, nothing, tables) == b""
    assert decode(b"", nothing, tables).shape == (0,)
    no_tables = np.zeros((0, 2), np.int64)
    assert encode(nothing, nothing, no_tables) == b""
    assert decode(b"", nothing, no_tables).shape == (0,)


@pytest.mark.parametrize("data", [b"\0" * 4, b"\xff" * 8, b"odd"])
def test_what_codes_nothing_must_be_empty(random_tables, data):
    with pytest.raises(LicError, match="no symbols to code"):
        decode(data, np.zeros(0, np.int64), random_tables(0))


def decode_as_specified(data, index, tables):
    """A range decoder in Python's integers: 64 bits of state, renewed by words of 32 bits, probabilities of 24."""
    words = [int.from_bytes(data[place : place + 4], "little") for place in range(0, len(data), 4)] + [0] * 10**4
    point, words, lower, width = (words[0] << 32) | words[1], iter(words[2:]), 0, 2**64 - 1
    symbols = np.zeros(len(index), int)
    for position in np.argsort(index, kind="stable"):
        edges = [0, *np.cumsum(tables[index[position]]).tolist()]
        part = width >> 24
        quantile = ((point - lower) % 2**64) // part
        symbol = int(np.searchsorted(edges, quantile, side="right")) - 1
        lower = (lower + part * edges[symbol]) % 2**64
        width = part * (edges[symbol + 1] - edges[symbol])
        if width < 2**32:
            lower, width = (lower << 32) % 2**64, width << 32
            point = ((point << 32) | next(words)) % 2**64
        symbols[position] = symbol
    return symbols


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(0, 300))
def test_a_decoder_written_from_the_definition_of_a_range_coder_reads_the_bytes(
    random_tables, random_message, seed, length
):
    tables = random_tables(seed)
    message, index = random_message(tables, length, seed)
    np.testing.assert_array_equal(decode_as_specified(encode(message, index, tables), index, tables), message)


def test_the_bytes_do_not_depend_on_what_holds_the_integers(random_tables, random_message):
    tables = random_tables(3)
    message, index = random_message(tables, 300, 3)
    data = encode(message, index, tables)
    for kind in (np.uint8, np.int16, np.int64):
        assert encode(message.astype(kind), index.astype(kind), tables) == data
    assert encode(np.repeat(message, 2)[::2], np.repeat(index, 2)[::2], np.asfortranarray(tables)) == data


def test_a_stream_that_was_written_once_stays_readable():
    table = np.array([[1, TOTAL // 2, TOTAL // 4, TOTAL // 4 - 1]])
    written = "57000000bca2c1fe5c140da846a168e8970845eb17432802751542618091108aa2ba8350fd0ccc83"
    message = np.arange(40) % 4
    assert encode(message, np.zeros(40, int), table).hex() == written
    np.testing.assert_array_equal(decode(bytes.fromhex(written), np.zeros(40, int), table), message)


def quantile_symbols(table, quantiles):
    """The symbol whose range each of the 2²⁴ quantiles is in, by constriction's own reading of our model."""
    model = _model(table)
    return [
        constriction.stream.stack.AnsCoder(np.array([quantile, 1], np.uint32), seal=False).decode(model)
        for quantile in quantiles
    ]


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(2, 300))
def test_the_entropy_coder_uses_exactly_our_integers(random_tables, seed, symbols):
    """A symbol of frequency f owns f quantiles: its first and its last one, probed at both ends of every range."""
    table = random_tables(seed, 1, symbols)[0]
    last = np.cumsum(table) - 1
    first = last - table + 1
    np.testing.assert_array_equal(quantile_symbols(table, first), np.arange(symbols))
    np.testing.assert_array_equal(quantile_symbols(table, last), np.arange(symbols))


@pytest.mark.parametrize(
    "table",
    [[1, TOTAL - 1], [TOTAL - 1, 1], [TOTAL // 2, TOTAL // 2], [1, 1, TOTAL - 4, 1, 1], [3, TOTAL - 5, 1, 1]],
    ids=str,
)
def test_the_entropy_coder_uses_exactly_the_most_lopsided_integers(table):
    last = np.cumsum(table) - 1
    first = last - table + 1
    np.testing.assert_array_equal(quantile_symbols(np.array(table), first), np.arange(len(table)))
    np.testing.assert_array_equal(quantile_symbols(np.array(table), last), np.arange(len(table)))


@settings(max_examples=200)
@given(st.integers(0, 2**32 - 1), st.binary(max_size=64), st.integers(0, 200))
def test_foreign_bytes_decode_to_symbols_of_the_tables_or_to_one_clear_error(random_tables, seed, data, length):
    tables = random_tables(seed)
    index = np.random.default_rng(seed).integers(len(tables), size=length)
    try:
        found = decode(data, index, tables)
    except LicError as error:
        assert "damaged" in str(error)
    else:
        assert len(data) % 4 == 0
        assert found.shape == (length,)
        assert np.all((found >= 0) & (found < tables.shape[1]))


def test_bytes_that_are_not_whole_words_are_named(random_tables):
    with pytest.raises(LicError, match="7 bytes is not whole 32-bit words"):
        decode(bytes(7), np.zeros(3, int), random_tables(0))


def test_bytes_that_are_no_code_are_named(random_tables):
    """2⁶⁴ − 1 is no multiple of 2²⁴: a remainder at the end of the coder's range belongs to no symbol."""
    with pytest.raises(LicError, match="damaged; get the file again"):
        decode(b"\xff" * 8, np.zeros(1, int), random_tables(0))


def test_a_truncated_or_changed_code_gives_other_symbols_or_the_error(random_tables, random_message):
    tables = random_tables(5)
    message, index = random_message(tables, 400, 5)
    data = encode(message, index, tables)
    changed = [data[:length] for length in range(0, len(data) - 4, 4)]
    changed += [data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :] for place in range(0, len(data) - 8, 3)]
    for other in changed:
        try:
            found = decode(other, index, tables)
        except LicError:
            continue
        assert not np.array_equal(found, message)


def test_bytes_after_the_code_are_an_error(random_tables, random_message):
    tables = random_tables(5)
    message, index = random_message(tables, 400, 5)
    with pytest.raises(LicError):
        decode(encode(message, index, tables) + bytes(400), index, tables)


def test_data_too_short_for_its_symbols_is_refused_before_decoding():
    tables = np.array([[TOTAL // 2, TOTAL // 2]])
    with pytest.raises(LicError, match="too short for its 1000000 symbols"):
        decode(b"", np.zeros(10**6, int), tables)
