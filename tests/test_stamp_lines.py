"""Lines get their ids in bulk, and keep every other byte."""

import json
import re
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fidelity.stamp.embed import LineFormat, Stamped, embed
from fidelity.stamp.places import slow_json_place

FIRST = 0xABCDEF01


def stamp(data: bytes, line_format: LineFormat) -> Stamped:
    return embed(data, line_format, lambda n: np.arange(FIRST, FIRST + n, dtype=np.uint32))


def out(data: bytes, line_format: LineFormat) -> list[bytes]:
    return bytes(stamp(data, line_format).data).splitlines(keepends=True)


TEXT_CASES = {
    b"hello\n": b"hello fid=abcdef01\n",
    b"hello\r\n": b"hello fid=abcdef01\r\n",
    b"hello": b"hello fid=abcdef01",
    b"  \n": b"   fid=abcdef01\n",
    "größe 🚚\n".encode(): "größe 🚚 fid=abcdef01\n".encode(),
    b"a fid=12345678 b\n": b"a fid=12345678 b fid=abcdef01\n",
    b"a fid=1234567\n": b"a fid=1234567 fid=abcdef01\n",
    b"a fid=1234567g\n": b"a fid=1234567g fid=abcdef01\n",
    b"afid=12345678\n": b"afid=12345678 fid=abcdef01\n",
}


@pytest.mark.parametrize("line", TEXT_CASES)
def test_a_text_line_gets_its_id_at_the_end(line: bytes) -> None:
    assert out(line, "text") == [TEXT_CASES[line]]


@pytest.mark.parametrize("line", [b" fid=12345678\n", b"a fid=ABCDEF01\r\n", b"a fid=00000000"])
def test_a_stamped_text_line_is_left_alone(line: bytes) -> None:
    stamped = stamp(line, "text")
    assert bytes(stamped.data) == line
    assert (len(stamped.ids), stamped.already) == (0, 1)


JSON_CASES = {
    b'{"a":1}\n': b'{"a":1,"fid":"abcdef01"}\n',
    b"{}\n": b'{"fid":"abcdef01"}\n',
    b"{ }\r\n": b'{ "fid":"abcdef01"}\r\n',
    b' {"a": {"fid": 1}, "b": [{}, []] } \t\n': (
        b' {"a": {"fid": 1}, "b": [{}, []] ,"fid":"abcdef01"} \t\n'
    ),
    b'{"a":"}"}': b'{"a":"}","fid":"abcdef01"}',
    b'{"a":"\\"}\\u00e9\\n"}\n': b'{"a":"\\"}\\u00e9\\n","fid":"abcdef01"}\n',
    b'{"a":-1.5e10,"b":true,"c":null}\n': b'{"a":-1.5e10,"b":true,"c":null,"fid":"abcdef01"}\n',
    b'{"fida":1,"FID":2}\n': b'{"fida":1,"FID":2,"fid":"abcdef01"}\n',
    b'{"a":' + b"[" * 200 + b"]" * 200 + b"}\n": (
        b'{"a":' + b"[" * 200 + b"]" * 200 + b',"fid":"abcdef01"}\n'
    ),
}


@pytest.mark.parametrize("line", JSON_CASES)
def test_a_json_object_gets_its_id_as_the_last_member(line: bytes) -> None:
    assert out(line, "json") == [JSON_CASES[line]]
    assert json.loads(out(line, "json")[0])["fid"] == "abcdef01"


@pytest.mark.parametrize(
    "line", [b'{"fid":"12345678"}', b'{"a":1,"fid":null}', b'{"\\u0066id":1}', b'{"fid" : {}}']
)
def test_a_json_object_with_a_member_fid_is_left_alone(line: bytes) -> None:
    stamped = stamp(line, "json")
    assert bytes(stamped.data) == line
    assert (len(stamped.ids), stamped.already) == (0, 1)


NO_RECORDS = [
    b"hello", b"[1]", b'"a"', b"1", b"null", b"{", b"}", b'{"a"}', b'{"a":}', b'{"a":1,}', b"{,}",
    b'{"a":1}{"b":2}', b'{"a":1} x', b'{"a":01}', b'{"a":1.}', b'{"a":.5}', b'{"a":+1}', b'{"a":-}',
    b'{"a":NaN}', b'{"a":tru}', b'{"a":"\x01"}', b'{"a":"\\x"}', b'{"a":"\\u12g4"}', b'{"a":"}',
    b'{"a":"\\ud800"}', b"{'a':1}", b'{"a":1e999}', b'{"a" 1}', b'{1:2}', b'{"a":[1}',
    b'{"a":[}]}', b'{"a":"\xff"}', b'{"a":"\0"}', b'\xef\xbb\xbf{"a":1}', b'{"a":1}\x0b',
    b'{"a":' * 2000, b'{"a":[1,]}',
]  # fmt: skip


@pytest.mark.parametrize("line", NO_RECORDS)
def test_what_is_not_one_json_object_is_passed_on_as_it_is(line: bytes) -> None:
    stamped = stamp(b"{}\n" + line + b"\n{}\n", "json")
    lines = [b'{"fid":"abcdef01"}', line, b'{"fid":"abcdef02"}', b""]
    assert bytes(stamped.data) == b"\n".join(lines)
    assert stamped.malformed == 1


@pytest.mark.parametrize("bad", [b"a\xffb", b"\0", b"a\0\n\xc3", "ä".encode()[:1]])
def test_text_that_no_reader_takes_for_a_record_is_passed_on_as_it_is(bad: bytes) -> None:
    stamped = stamp("gut ä\n".encode() + bad + b"\ngut\n", "text")
    assert bytes(stamped.data).startswith("gut ä fid=abcdef01\n".encode() + bad)
    assert stamped.malformed == bad.count(b"\n") + 1
    assert len(stamped.ids) == 2


def test_blank_lines_are_no_records() -> None:
    for line_format in ("json", "text"):
        stamped = stamp(b"\n\r\n\n", line_format)
        assert bytes(stamped.data) == b"\n\r\n\n"
        assert (stamped.blank, len(stamped.ids)) == (3, 0)


def test_no_lines_at_all_are_fine() -> None:
    assert bytes(stamp(b"", "json").data) == b""


LINE = st.one_of(
    st.text().map(lambda text: text.encode("utf-8", "replace")),
    st.binary(max_size=30),
    st.sampled_from([b"", b"\r", b"x fid=0123abcd", b"fid=0123abcd"]),
)


@settings(max_examples=70)
@given(st.lists(LINE, max_size=8), st.booleans())
def test_text_without_the_ids_is_what_it_was(lines: list[bytes], newline: bool) -> None:
    data = b"\n".join(lines) + b"\n" * newline
    stamped = stamp(data, "text")
    text = bytes(stamped.data)
    for start, end, fid in reversed(
        list(zip(stamped.starts.tolist(), stamped.ends.tolist(), stamped.ids.tolist(), strict=True))
    ):
        suffix = b" fid=%08x" % fid
        assert text[start:end].endswith(suffix)
        assert b"\n" not in text[start:end]
        text = text[: end - len(suffix)] + text[end:]
    assert text == data
    count = len([line for line in data.split(b"\n") if line]) + data.count(b"\n\n")
    assert len(stamped.ids) + stamped.already + stamped.malformed <= max(count, len(lines))


VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECT = st.dictionaries(st.sampled_from(["fid", "a", "ts", "FID"]) | st.text(), VALUE, max_size=5)


def valid(lines: list[bytes]) -> list[bool]:
    """What DuckDB, which gives records their meaning, says."""
    rows = [line.decode("utf-8", "replace") for line in lines]
    asked = "SELECT list_transform($rows, r -> json_valid(r) AND json_type(r) = 'OBJECT')"
    found = duckdb.execute(asked, {"rows": rows}).fetchone()
    assert found is not None
    return [bool(answer) for answer in found[0]]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    line = json.dumps(draw(OBJECT), ensure_ascii=draw(st.booleans()), allow_nan=False)
    raw = line.encode("utf-8", "replace")
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(raw)))
        piece = draw(
            st.sampled_from([b"", b'"', b"\\", b"{", b"}", b",", b" ", b"\x01", b"0", b"e"])
        )
        raw = raw[:at] + piece + raw[at + draw(st.integers(0, 1)) :]
    return raw.replace(b"\n", b" ").replace(b"\r", b" ")


@settings(max_examples=130)
@given(st.lists(mutated(), min_size=1, max_size=6))
@example([b'{"a":"\xed\xa0\x80"}'])
def test_only_records_are_stamped_and_they_stay_the_same_record(lines: list[bytes]) -> None:
    stamped = stamp(b"\n".join(lines) + b"\n", "json")
    results = bytes(stamped.data).split(b"\n")[:-1]
    assert len(results) == len(lines)
    changed = [pair for pair in zip(lines, results, strict=True) if pair[0] != pair[1]]
    assert len(changed) == len(stamped.ids)
    for (before, after), fid in zip(changed, stamped.ids.tolist(), strict=True):
        assert re.sub(rb',?"fid":"%08x"(?=}[ \t]*$)' % fid, b"", after) == before
        assert json.loads(after) == json.loads(before) | {"fid": f"{fid:08x}"}
    assert all(valid([line for pair in changed for line in pair]))
    for line, result in zip(lines, results, strict=True):
        if line == result and line:
            assert slow_json_place(line)[0] not in (2, 3) or b"\0" in line


def test_a_line_s_span_is_what_a_reader_takes_for_the_record() -> None:
    stamped = stamp(b'{"a":1}\r\n\nx\n{"b":2} \n{}', "json")
    spans = zip(stamped.starts, stamped.ends, strict=True)
    assert [bytes(stamped.data[a:b]) for a, b in spans] == [
        b'{"a":1,"fid":"abcdef01"}',
        b'{"b":2,"fid":"abcdef02"} ',
        b'{"fid":"abcdef03"}',
    ]
    assert stamped.sizes.tolist() == [24, 25, 18]


def test_a_failing_source_of_ids_loses_nothing() -> None:
    def refuse(_count: int) -> Any:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        embed(b"{}\n", "json", refuse)
