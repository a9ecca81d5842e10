"""The scanners alone: which lines they are sure of, and that sure means the same as the SQL."""

import json
import string

import numpy as np
from decode_lines import decoder_for, lines_of, said, spec
from hypothesis import given, settings
from hypothesis import strategies as st

from fidelity.config import Place, RecordSpec
from fidelity.decode import Names

GOOD = {"fid": "0000002a", "ts": "2024-01-01T00:00:00Z", "stream": "app", "origin": "h1"}
TEXT = spec("text", time=Place(builtin="line_start"))


def agree(lines: list[bytes], record: RecordSpec) -> list[bool]:
    """Asserts that kernels and SQL tell the lines alike; which ones the kernels were sure of."""
    names = Names()
    decoder = decoder_for(record, names)
    batch = lines_of(lines)
    told = said(decoder.decode(batch), names)
    sure = (~decoder._room.unsure[: len(lines)]).tolist()
    decoder._all_sql = True
    for line, first, second in zip(lines, told, said(decoder.decode(batch), names), strict=True):
        assert first == second, line
    return [bool(one) for one in sure]


def sure(line: bytes, record: RecordSpec | None = None) -> bool:
    return agree([line], record or spec())[0]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(-1e90, 1e90, allow_nan=False)
    | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)


def spaced(value: object, blank: str, ascii_only: bool) -> bytes:
    text = json.dumps(value, ensure_ascii=ascii_only, separators=(f",{blank}", f"{blank}:{blank}"))
    return f"{blank}{text}{blank}".encode(errors="replace")


plain_names = st.text(string.ascii_letters + string.digits + " -_.", min_size=1, max_size=20)


@given(
    st.lists(
        st.tuples(
            st.dictionaries(plain_names, json_values, max_size=6),
            st.sampled_from(["", " ", "\t ", "  \r"]),
            st.booleans(),
        ),
        min_size=1,
        max_size=30,
    )
)
@settings(max_examples=14, deadline=None)
def test_every_json_object_with_plain_member_names_is_taken(
    made: list[tuple[dict[str, object], str, bool]],
) -> None:
    lines = [spaced(GOOD | members, blank, ascii_only) for members, blank, ascii_only in made]
    changed = [bool(members.keys() & GOOD.keys()) for members, _, _ in made]
    for one, odd in zip(agree(lines, spec()), changed, strict=True):
        assert one or odd


FRAGMENTS = [
    *('"', "{", "}", "[", "]", ":", ",", " ", "\\", "\\u00", "\\ud83d", "\\ude00", "\\n", "\t"),
    *("-", "0", "1", "01", "."),
    *("1e", "e5", "1.5", "true", "null", "false", "nul", "NaN", "é", "日", "😀", "\x00", "\x7f"),
    *('"fid":', '"ts":', '"stream":', '"origin":', '"x":', '"0000002a"', '"2024-01-01T00:00:00"'),
    *(' fid=', "fid=0000002a", " stream=a", "\torigin=b", "=", "2024-01-01 00:00:00", "+02", "Z "),
    *("1704067200", "1704067200.1234567", "17040672001234567", '"a"', '"\\u00e9"', "{}", "[]"),
]  # fmt: skip


@given(st.lists(st.lists(st.sampled_from(FRAGMENTS), max_size=14), min_size=20, max_size=60))
@settings(max_examples=14, deadline=None)
def test_fragments_in_any_order_mean_the_same_to_the_scanner_and_to_the_sql(
    pieces: list[list[str]],
) -> None:
    lines = ["".join(one).encode() for one in pieces]
    agree(lines, TEXT)
    agree([b"{" + line + b"}" for line in lines] + lines, spec())
    good = json.dumps(GOOD).encode()
    agree([good[:-1] + b"," + line + b"}" for line in lines], spec())


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=50))
@settings(max_examples=14, deadline=None)
def test_any_bytes_mean_the_same_to_the_scanner_and_to_the_sql(lines: list[bytes]) -> None:
    agree(lines, TEXT)
    agree([b'{"fid":"' + line + b'"}' for line in lines], spec())
    start = b"2024-01-01 00:00:00 stream=a origin=b fid=0000002a "
    agree([start + line for line in lines], TEXT)


numbers = st.from_regex(r"-?[0-9]{1,20}(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
doubles = st.floats(0, 3e18).map(repr) | st.integers(0, 2**33).flatmap(
    lambda whole: st.floats(0, 1).map(lambda part: repr(whole + part))
)


@given(
    st.lists(numbers | doubles, min_size=20, max_size=60),
    st.sampled_from(["auto", "s", "ms", "us", "ns"]),
)
@settings(max_examples=14, deadline=None)
def test_a_number_is_the_same_time_to_the_scanner_and_to_the_sql(
    written: list[str], unit: str
) -> None:
    place = Place.model_validate({"field": "ts", "unit": unit})
    record = GOOD | {"ts": "TIME"}
    line = json.dumps(record).encode()
    for quoted in (b'"TIME"', b"TIME"):
        agree([line.replace(quoted, one.encode()) for one in written], spec(time=place))
    text = "t=TIME stream=app origin=h1 fid=0000002a"
    place = Place.model_validate({"field": "t", "unit": unit})
    agree([text.replace("TIME", one).encode() for one in written], spec("text", time=place))


times = st.from_regex(
    r"(19[67][0-9]|20[0-9][0-9]|[0-9]{4})-[01][0-9]-[0-3][0-9][Tt ]"
    r"[0-2][0-9]:[0-6][0-9]:[0-6][0-9]([.,][0-9]{1,20})?"
    r"( ?(Z|z|UTC|[+-][0-2][0-9](:?[0-6][0-9])?))?",
    fullmatch=True,
)


@given(st.lists(times, min_size=20, max_size=60))
@settings(max_examples=14, deadline=None)
def test_an_iso_time_is_the_same_to_the_scanner_and_to_the_sql(written: list[str]) -> None:
    agree([json.dumps(GOOD | {"ts": one}).encode() for one in written], spec())
    tail = " stream=app origin=h1 fid=0000002a"
    agree([(one + tail).encode() for one in written], TEXT)


@given(st.lists(st.binary(max_size=9), min_size=20, max_size=60))
@settings(max_examples=14, deadline=None)
def test_given_bytes_mean_the_same_to_the_kernel_and_to_the_sql(given_bytes: list[bytes]) -> None:
    for encoding in ("auto", "hex", "int", "sequence", "opaque"):
        names = Names()
        record = spec(
            id=Place.model_validate({"header": "h", "encoding": encoding}),
            time=Place(header="h"),
            stream=Place(constant="s"),
            origin=Place(header="h"),
        )
        for time in (Place(builtin="timestamp"), Place(header="h")):
            decoder = decoder_for(record.model_copy(update={"time": time}), names)
            batch = lines_of([b""] * len(given_bytes), h=given_bytes)
            told = said(decoder.decode(batch), names)
            decoder._all_sql = True
            assert said(decoder.decode(batch), names) == told


def test_the_scanner_is_sure_of_the_lines_that_logs_are_made_of() -> None:
    for changed in (
        {},
        {"msg": 'quotes " and \\ and \n and größe 日😀'},
        {"ts": 1704067200.1234567},
        {"ts": "2024-01-01 00:00:00.123456 +0000"},
        {"origin": "größe/\n😀"},
        {"n": [1, -2.5e-9, {"a": [], "b": {}}], "t": True, "z": None},
        {"fid": None},
    ):
        assert sure(json.dumps(GOOD | changed).encode())
        assert sure(json.dumps(GOOD | changed, ensure_ascii=False, indent=1).encode())
    assert sure(b"2024-01-01 00:00:00,123 INFO x=y stream=a origin=b fid=0000002a", TEXT)


def test_a_line_of_any_length_may_end_anywhere() -> None:
    whole = json.dumps(GOOD | {"msg": "x" * 100, "n": [1, {"a": None}], "e": "\n"}).encode()
    agree([whole[:end] for end in range(len(whole) + 1)], spec())
    agree([b"a" * 30 + whole[:end] for end in range(len(whole) + 1)], spec())
    text = b"2024-01-01 00:00:00.123 +0200 stream=app origin=h1 fid=0000002a"
    agree([text[:end] for end in range(len(text) + 1)], TEXT)


def test_lines_around_the_length_of_the_list_of_quotes_are_all_read() -> None:
    for length in (63, 64, 65, 8191, 8192, 8193, 20_000):
        line = json.dumps(GOOD | {"m": ""})
        padded = line[:-2] + '","":"' * ((length - len(line)) // 6) + line[-2:]
        wide = line[:-2] + " " * (length - len(padded)) + padded[len(line) - 2 :]
        assert sure(wide.encode())


def test_deep_nesting_is_left_to_the_sql_and_accepted() -> None:
    for depth, known in ((50, True), (60, True), (61, False), (300, False)):
        for left, right in (("[", "]"), ('{"a":', "}")):
            inner = left * depth + "1" + right * depth
            line = json.dumps(GOOD)[:-1] + f', "n": {inner}}}'
            assert sure(line.encode()) == known


def test_a_scan_does_not_run_on_into_the_next_line() -> None:
    lines = [b'{"fid":"0000002a', b'","ts":"2024-01-01T00:00:00Z","stream":"a","origin":"b"}']
    names = Names()
    assert said(decoder_for(spec(), names).decode(lines_of(lines)), names) == [("malformed",)] * 2


def test_a_batch_may_be_decoded_twice_with_the_same_result() -> None:
    names = Names()
    decoder = decoder_for(spec(), names)
    batch = lines_of([json.dumps(GOOD).encode()] * 100 + [b"{"])
    first = decoder.decode(batch).id.copy()
    assert np.array_equal(decoder.decode(batch).id[:100], first[:100])
