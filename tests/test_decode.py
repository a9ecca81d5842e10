"""What records mean: ids, times, names and flaws, in JSON lines, text lines and Kafka's parts."""

import json

import numpy as np
import pytest
from decode_lines import ARRIVAL, decoder_for, lines_of, said, spec

from fidelity.config import Place, RecordSpec
from fidelity.decode import (
    Names,
    columns_needed,
    headers_needed,
    key_needed,
    value_needed,
)
from fidelity.errors import ConfigError
from fidelity.identity import content_id, ids_of, producer_seed
from fidelity.records import Lines, Slices

MIDNIGHT = 1_704_067_200_000_000  # 2024-01-01T00:00:00Z
GOOD = {"fid": "0000002a", "ts": "2024-01-01T00:00:00Z", "stream": "app", "origin": "h1"}
DAY = 86_400_000_000


def meaning(
    values: list[bytes | None], record: RecordSpec | None = None, **headers: list[bytes | None]
) -> list[tuple[object, ...]]:
    """Each record's (flaw, id, time, stream, origin), told alike by the kernels and the SQL."""
    names = Names()
    batch = lines_of(values, **headers)
    decoder = decoder_for(record or spec(), names)
    told = said(decoder.decode(batch), names)
    decoder._all_sql = True
    assert said(decoder.decode(batch), names) == told
    return told


def one(changed: dict[str, object], record: RecordSpec | None = None) -> tuple[object, ...]:
    return meaning([json.dumps(GOOD | changed).encode()], record)[0]


def test_a_whole_json_record_has_an_id_a_time_a_stream_and_an_origin() -> None:
    assert one({}) == ("", 42, MIDNIGHT, "app", "h1")


@pytest.mark.parametrize(
    ("written", "fid"),
    [("DEADbeef", 0xDEADBEEF), ("12345678", 0x12345678), (12345678, 12345678), (0, 0)],
)
def test_an_id_is_8_hex_digits_or_an_integer(written: object, fid: int) -> None:
    assert one({"fid": written})[1] == fid


@pytest.mark.parametrize(
    "written",
    ["1234567", "123456789", "1234567g", "", None, -1, 1.0, 2**32, True, [1], {"a": 1}, " 1234567"],
)
def test_anything_else_is_unstamped(written: object) -> None:
    assert one({"fid": written}) == ("unstamped",)


@pytest.mark.parametrize(
    ("written", "time"),
    [
        ("2024-01-01T00:00:00Z", MIDNIGHT),
        ("2024-01-01t00:00:00z", MIDNIGHT),
        ("2024-01-01 00:00:00", MIDNIGHT),
        ("2024-01-01T02:00:00+02:00", MIDNIGHT),
        ("2023-12-31T18:30:00.5-0530", MIDNIGHT + 500_000),
        ("2024-01-01T05+05", None),
        ("2024-01-01T05:00+05", MIDNIGHT),
        ("2024-01-01 00:00:00 UTC", MIDNIGHT),
        ("2024-01-01 00:00:00,123", MIDNIGHT + 123_000),
        ("2024-01-01T00:00:00.123456789Z", MIDNIGHT + 123_456),
        ("20240101T000000Z", MIDNIGHT),
        ("2024-01-01", MIDNIGHT),
        ("2024-01-01T00:00", MIDNIGHT),
        ("2023-12-31T23:59:60Z", MIDNIGHT),
        ("2024-02-29T00:00:00Z", MIDNIGHT + 59 * DAY),
        ("2023-02-29T00:00:00Z", None),
        ("2024-01-01T24:00:00Z", None),
        ("2024-13-01T00:00:00Z", None),
        ("2024-01-01T00:00:00+24:00", None),
        ("1969-12-31T23:59:59Z", None),
        ("1970-01-01T00:00:00Z", 0),
        ("0001-01-01T00:00:00Z", None),
        ("yesterday", None),
        ("", None),
        (None, None),
        (0, 0),
        (1704067200, MIDNIGHT),
        (1704067200000, MIDNIGHT),
        (1704067200000000, MIDNIGHT),
        (1704067200000000999, MIDNIGHT),
        (1704067200.25, MIDNIGHT + 250_000),
        (1704067200.1234567, MIDNIGHT + 123_456),
        (1704067200123.4567, MIDNIGHT + 123_456),
        (1.7040672e9, MIDNIGHT),
        ("1704067200", MIDNIGHT),
        ("1704067200.000001", MIDNIGHT + 1),
        (-1, None),
        (10**30, None),
        (True, None),
        ([1704067200], None),
    ],
)
def test_a_time_is_iso_8601_or_an_epoch_by_its_magnitude(written: object, time: int | None) -> None:
    expected = ("untimed",) if time is None else ("", 42, time, "app", "h1")
    assert one({"ts": written}) == expected


@pytest.mark.parametrize(
    ("unit", "written", "time"),
    [
        ("s", 1704067200, MIDNIGHT),
        ("s", "2024-01-01T00:00:00Z", None),
        ("s", 10**12, None),
        ("ms", 1704067200, 1_704_067_200_000),
        ("us", 1704067200.9, 1_704_067_200),
        ("ns", 1704067200, 1_704_067),
        ("iso", 1704067200, None),
        ("iso", "1704067200", None),
        ("iso", "2024-01-01T00:00:00Z", MIDNIGHT),
    ],
)
def test_a_unit_that_is_given_is_kept_to(unit: str, written: object, time: int | None) -> None:
    record = spec(time=Place.model_validate({"field": "ts", "unit": unit}))
    found = one({"ts": written}, record)
    assert found == (("untimed",) if time is None else ("", 42, time, "app", "h1"))


def test_the_year_9999_is_from_the_future_and_counts_and_the_year_10000_is_no_time() -> None:
    assert one({"ts": "9999-12-31T23:59:59.999999Z"})[:3] == ("future", 42, 253402300799999999)
    assert one({"ts": "10000-01-01T00:00:00Z"}) == ("untimed",)
    in_ms = spec(time=Place(field="ts", unit="ms"))
    assert one({"ts": 253402300800000}, in_ms) == ("untimed",)


def test_the_future_starts_a_day_after_the_arrival() -> None:
    assert one({"ts": ARRIVAL + DAY})[0] == ""
    assert one({"ts": ARRIVAL + DAY + 1})[0] == "future"


@pytest.mark.parametrize("missing", ["stream", "origin"])
@pytest.mark.parametrize("written", [None, "", [], {}, "x" * 1025, "a\0b"])
def test_a_record_without_a_stream_or_an_origin_is_unattributed(
    missing: str, written: object
) -> None:
    assert one({missing: written}) == ("unattributed",)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("größe", "größe"),
        ('a/b\n\t"c"\\', 'a/b\n\t"c"\\'),
        ("日😀", "日😀"),
        (17, "17"),
        (True, "true"),
    ],
)
def test_names_are_strings_or_what_can_be_written_as_one(written: object, name: str) -> None:
    assert one({"origin": written})[4] == name
    line = json.dumps(GOOD | {"origin": written}, ensure_ascii=False).encode()
    assert meaning([line])[0][4] == name


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" ",
        b"{",
        b"[]",
        b'"x"',
        b"{} {}",
        b"{}x",
        b"{'a': 1}",
        b'{"a": 01}',
        b'{"a": 1.}',
        b'{"a": .5}',
        b'{"a": +1}',
        b'{"a": tru}',
        b'{"a": "\x01"}',
        b'{"a": "\\x"}',
        b'{"a": "\\ud800"}',
        b'{"a": "\xff"}',
        b'{"a": "\xed\xa0\x80"}',
        b'{"a": "\xc0\x80"}',
        b'{"a": "\x00"}',
        b'\xef\xbb\xbf{"a": 1}',
        b'{"a": 1}\x00',
        b'{"a" 1}',
        b'{"a": 1 "b": 2}',
        b'{"a": [1}',
    ],
)
def test_what_is_no_json_object_in_utf_8_is_malformed(line: bytes) -> None:
    assert meaning([line]) == [("malformed",)]


def test_what_duckdb_takes_beyond_the_standard_is_taken() -> None:
    for text in ("NaN", "-Infinity", "[1,]"):
        line = json.dumps(GOOD)[:-1].encode() + b', "x": ' + text.encode() + b"}"
        assert meaning([line])[0][1] == 42


def test_of_a_repeated_member_the_first_counts() -> None:
    line = json.dumps(GOOD)[:-1].encode() + b', "fid": "00000001"}'
    assert meaning([line])[0][1] == 42


def test_a_null_value_whose_id_should_be_in_it_is_unstamped_and_a_long_one_malformed() -> None:
    names = Names()
    batch = lines_of([json.dumps(GOOD).encode(), None])
    batch.values.starts[0] = batch.values.ends[0] = -2
    assert said(decoder_for(spec(), names).decode(batch), names) == [("malformed",), ("unstamped",)]


def test_flaws_come_in_their_order() -> None:
    assert one({"fid": 1.5, "ts": "x", "stream": ""}) == ("unstamped",)
    assert one({"ts": "x", "stream": ""}) == ("untimed",)


def test_a_pointer_reaches_into_nested_members_and_lists() -> None:
    record = spec(origin=Place(field="/k8s/pods/1/na~1me"), id=Place(field="/fid"))
    nested = {"k8s": {"pods": [{}, {"na/me": "pod-7"}]}}
    assert one(nested, record)[4] == "pod-7"


def test_members_with_awkward_names_are_found() -> None:
    for name in ("a.b", "a/b", "a~b", "größe", "", "x" * 70, 'q"uote'):
        assert one({name: "here"}, spec(origin=Place(field="/" + name.replace("~", "~0").replace(
            "/", "~1"))))[4] == "here"  # fmt: skip


def test_one_member_may_be_both_stream_and_origin() -> None:
    assert one({}, spec(origin=Place(field="stream")))[3:] == ("app", "app")


def test_a_pattern_finds_a_part_in_a_json_line() -> None:
    record = spec(stream=Place(regex=r'"note": "type (\w+)'))
    assert one({"note": "type audit"}, record)[3] == "audit"


def test_sequence_numbers_become_the_producers_ids_modulo_2_to_the_32() -> None:
    record = spec(id=Place(field="fid", encoding="sequence"))
    expected = int(ids_of(np.array([7], np.uint32), producer_seed("app", "h1"))[0])
    for written in (7, "7", 7 + 2**32, "007"):
        assert one({"fid": written}, record)[1] == expected
    other = int(ids_of(np.array([7], np.uint32), producer_seed("app", "h2"))[0])
    assert one({"fid": 7, "origin": "h2"}, record)[1] == other
    for written in (-7, 7.0, "7a", ""):
        assert one({"fid": written}, record) == ("unstamped",)


def test_many_producers_keep_their_own_seeds() -> None:
    names = Names()
    lines = [
        json.dumps(GOOD | {"fid": n, "origin": f"h{n % 9000}"}).encode() for n in range(18_000)
    ]
    decoder = decoder_for(spec(id=Place(field="fid", encoding="sequence")), names)
    ids = decoder.decode(lines_of(lines)).id
    expected = [
        int(ids_of(np.array([n], np.uint32), producer_seed("app", f"h{n % 9000}"))[0])
        for n in range(0, 18_000, 997)
    ]
    assert ids[::997].tolist() == expected


def test_opaque_ids_are_hashed_as_they_are_written() -> None:
    record = spec(id=Place(field="fid", encoding="opaque"))
    for written, hashed in (("550e8400-e29b", b"550e8400-e29b"), ("é", "é".encode()), (12, b"12")):
        assert one({"fid": written}, record)[1] == content_id(hashed)
    for written in ("", None, [], {}):
        assert one({"fid": written}, record) == ("unstamped",)


def test_content_is_hashed_byte_by_byte() -> None:
    record = spec(id=Place(builtin="content"))
    line = json.dumps(GOOD).encode()
    assert meaning([line, line + b" "], record)[0][1] == content_id(line)
    assert meaning([line + b" "], record)[0][1] == content_id(line + b" ")


TEXT = spec("text", time=Place(builtin="line_start"))


@pytest.mark.parametrize(
    ("start", "time"),
    [
        ("2024-01-01T00:00:00Z", MIDNIGHT),
        ("2024-01-01 00:00:00", MIDNIGHT),
        ("2024-01-01 00:00:00.250", MIDNIGHT + 250_000),
        ("2024-01-01 00:00:00,250", MIDNIGHT + 250_000),
        ("[2024-01-01 00:00:00,250]", MIDNIGHT + 250_000),
        ("2024-01-01 02:00:00 +0200", MIDNIGHT),
        ("2024-01-01 02:00:00+02", MIDNIGHT),
        ("2024-01-01 00:00:00 UTC", MIDNIGHT),
        ("2024-01-01 00:00:00 User", MIDNIGHT),
        ("2024-01-01 00:00:00 - x", MIDNIGHT),
        ("2024-01-01 00:00:00 zoo", MIDNIGHT),
        ("20240101T000000Z", MIDNIGHT),
        ("2024-01-01 00:00", MIDNIGHT),
        ("2024-01-01|00:00:00", None),
        ("2024-01-01 message", None),
        ("2024-01-01 00:00:00.x", None),
        ("at 2024-01-01 00:00:00", None),
        ("1704067200", None),
    ],
)
def test_a_text_line_starts_with_its_time(start: str, time: int | None) -> None:
    line = f"{start} INFO stream=app origin=h1 fid=0000002a".encode()
    assert meaning([line], TEXT)[0] == (
        ("untimed",) if time is None else ("", 42, time, "app", "h1")
    )


def test_a_stamp_is_the_last_of_its_tokens_and_any_other_field_the_first() -> None:
    line = b"2024-01-01T00:00:00Z origin=h1 stream=app fid=00000001 origin=h2 fid=0000002a"
    assert meaning([line], TEXT) == [("", 42, MIDNIGHT, "app", "h1")]


@pytest.mark.parametrize(
    ("stamp", "flaw"),
    [
        (" fid=0000002a", ""),
        ("\tfid=0000002A", ""),
        (" fid=0000002a more", ""),
        ("fid=0000002a", "unattributed"),  # belongs to the origin before it
        (" fid=0000002", "unstamped"),
        (" fid=0000002ab", "unstamped"),
        (" fid=", "unstamped"),
        (" xfid=0000002a", "unstamped"),
        ("", "unstamped"),
    ],
)
def test_a_text_lines_stamp_is_a_token_of_8_hex_digits(stamp: str, flaw: str) -> None:
    line = b"2024-01-01T00:00:00Z stream=app origin=h1" + stamp.encode()
    told = meaning([line], TEXT)[0]
    assert told[0] == ("unstamped" if stamp == "fid=0000002a" else flaw)


def test_a_quoted_value_is_taken_without_its_quotes() -> None:
    line = b'2024-01-01T00:00:00Z stream="two words" origin="h1" fid=0000002a'
    assert meaning([line], TEXT) == [("", 42, MIDNIGHT, "two words", "h1")]


def test_a_text_line_with_a_nul_or_broken_utf_8_is_malformed() -> None:
    line = b"2024-01-01T00:00:00Z stream=app origin=h1 %s fid=0000002a"
    for broken in (b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80"):
        assert meaning([line % broken], TEXT) == [("malformed",)]
    assert meaning([line % "größe 日😀".encode()], TEXT)[0][1] == 42


def test_patterns_find_the_parts_of_a_text_line() -> None:
    record = spec(
        "text",
        id=Place(regex=r"#(\w+)$"),
        time=Place(regex=r"\[(.*?)\]"),
        stream=Place(regex=r"^(\w+):"),
        origin=Place(path=r"logs/([^/]+)/"),
    )
    line = b"audit: [2024-01-01T00:00:00Z] hello #0000002a"
    assert meaning([line, b"x"], record) == [("", 42, MIDNIGHT, "audit", "h1"), ("unstamped",)]


def test_one_field_may_be_id_and_origin_the_last_token_and_the_first() -> None:
    record = spec("text", time=TEXT.time, origin=Place(field="fid"))
    line = b"2024-01-01T00:00:00Z stream=app fid=h1 fid=0000002a"
    assert meaning([line], record) == [("", 42, MIDNIGHT, "app", "h1")]


def test_patterns_and_pointers_are_looked_for_in_sound_lines_only() -> None:
    record = spec(stream=Place(field="/a/b"), origin=Place(regex=r"host=(\w+)"))
    good = json.dumps(GOOD | {"a": {"b": "deep"}, "msg": "host=h9"}).encode()
    told = meaning([good, good[:-1], None, json.dumps(GOOD).encode()], record)
    assert told == [
        ("", 42, MIDNIGHT, "deep", "h9"),
        ("malformed",),
        ("unstamped",),
        ("unattributed",),
    ]


def test_key_value_times_may_be_epochs() -> None:
    record = spec("text", time=Place(field="t"))
    line = b"t=1704067200.5 stream=app origin=h1 fid=0000002a"
    assert meaning([line], record)[0][2] == MIDNIGHT + 500_000


def test_a_path_that_does_not_match_leaves_records_unattributed() -> None:
    assert one({}, spec(origin=Place(path=r"nowhere/([^/]+)/"))) == ("unattributed",)


@pytest.mark.parametrize("pattern", ["(", "no group", "(two)(groups)", "(?=ahead)(x)", r"(a)\1"])
def test_a_pattern_that_cannot_be_used_is_a_config_error(pattern: str) -> None:
    for place in ("regex", "path"):
        broken = Place.model_construct(**{place: pattern})
        record = RecordSpec.model_construct(
            format="text", id=Place(field="fid"), time=TEXT.time, stream=broken, origin=broken
        )
        with pytest.raises(ConfigError):
            decoder_for(record, Names())


def test_a_pointer_with_a_lone_tilde_is_a_config_error() -> None:
    with pytest.raises(ConfigError):
        decoder_for(spec(origin=Place(field="/a~2")), Names())


KAFKA = spec(
    id=Place(header="fid"),
    time=Place(builtin="timestamp"),
    stream=Place(builtin="topic"),
    origin=Place(header="origin"),
)


def test_kafka_records_are_decoded_without_a_look_at_their_values() -> None:
    told = meaning(
        [b"\xff not json", None, b"", b"{}"],
        KAFKA,
        fid=[b"\0\0\0\x2a", b"0000002A", b"2a", None],
        origin=[b"h1", "größe".encode(), b"h1", b"h1"],
    )
    topic = "logs/h1/app.log"
    assert told == [
        ("", 42, ARRIVAL, topic, "h1"),
        ("", 42, ARRIVAL, topic, "größe"),
        ("unstamped",),
        ("unstamped",),
    ]


def test_headers_and_members_mix_freely() -> None:
    record = spec(id=Place(header="fid"), origin=Place(header="origin"))
    good = json.dumps(GOOD).encode()
    told = meaning(
        [good, b"{", None, good],
        record,
        fid=[b"\0\0\0\7"] * 4,
        origin=[b"o", b"o", b"o", b"\xff"],
    )
    assert told == [("", 7, MIDNIGHT, "app", "o"), ("malformed",), ("untimed",), ("unattributed",)]


@pytest.mark.parametrize(
    ("encoding", "header", "sequence"),
    [
        ("sequence", b"1234", 1234),
        ("sequence", b"\0\0\0\x07", 7),
        ("sequence", b"\0\0\0\1\0\0\0\x07", 7),
        ("sequence", b"\xff" * 8, None),
        ("sequence", b"12345678", 12345678),
        ("sequence", b"7x", None),
    ],
)
def test_numbers_in_headers_are_digits_or_big_endian(
    encoding: str, header: bytes, sequence: int | None
) -> None:
    record = spec(id=Place.model_validate({"header": "fid", "encoding": encoding}))
    told = meaning([json.dumps(GOOD).encode()], record, fid=[header])[0]
    if sequence is None:
        assert told == ("unstamped",)
    else:
        seed = producer_seed("app", "h1")
        assert told[1] == int(ids_of(np.array([sequence], np.uint32), seed)[0])


@pytest.mark.parametrize(
    ("header", "time"),
    [
        (b"2024-01-01T00:00:00Z", MIDNIGHT),
        (b"1704067200000", MIDNIGHT),
        ((1704067200000).to_bytes(8, "big"), MIDNIGHT),
        (b"garbage!", None),
        (b"\xff", None),
        (b"", None),
    ],
)
def test_a_time_in_a_header_is_text_or_8_bytes(header: bytes, time: int | None) -> None:
    told = meaning([json.dumps(GOOD).encode()], spec(time=Place(header="t")), t=[header])[0]
    assert told == (("untimed",) if time is None else ("", 42, time, "app", "h1"))


def test_the_key_can_be_the_id_and_the_origin() -> None:
    names = Names()
    batch = lines_of([json.dumps(GOOD).encode()] * 2, key=[b"0000002a", None])
    batch.keys = batch.headers.pop("key")
    record = spec(id=Place(builtin="key"), origin=Place(builtin="key"))
    told = said(decoder_for(record, names).decode(batch), names)
    assert told == [("", 42, MIDNIGHT, "app", "0000002a"), ("unstamped",)]


def test_an_unknown_arrival_is_no_time_and_judges_no_future() -> None:
    names = Names()
    batch = lines_of([json.dumps(GOOD | {"ts": "9999-01-01T00:00:00Z"}).encode()])
    batch.arrivals[:] = -1
    assert said(decoder_for(spec(), names).decode(batch), names)[0][0] == ""
    assert said(decoder_for(spec(time=KAFKA.time), names).decode(batch), names) == [("untimed",)]


def test_a_record_keeps_its_size_arrival_and_position() -> None:
    batch = lines_of([b"{", json.dumps(GOOD).encode()])
    records = decoder_for(spec(), Names()).decode(batch)
    assert records.size.tolist() == batch.sizes.tolist()
    assert records.position.tolist() == [0, 1]
    assert records.arrival.tolist() == [ARRIVAL, ARRIVAL]


def test_an_empty_batch_has_no_records() -> None:
    for record in (spec(), TEXT, KAFKA):
        assert len(decoder_for(record, Names()).decode(lines_of([]))) == 0


def test_read_only_buffers_and_strided_slices_are_taken() -> None:
    line = json.dumps(GOOD).encode()
    buffer = np.frombuffer(line + bytes(64), np.uint8)
    both = np.array([[0, len(line)]], np.int64)
    zeros = np.zeros(1, np.int64)
    both.flags.writeable = False
    lines = Lines(buffer, Slices(both[:, 0], both[:, 1]), zeros, zeros, zeros)
    assert decoder_for(spec(), Names()).decode(lines).id.tolist() == [42]


def test_a_50_mb_line_is_decoded() -> None:
    line = json.dumps({"msg": "x" * 50_000_000} | GOOD).encode()
    escaped = json.dumps({"msg": "\n" * 1_000_000} | GOOD | {"fid": 1.5}).encode()
    assert meaning([line, escaped]) == [("", 42, MIDNIGHT, "app", "h1"), ("unstamped",)]


def test_more_names_than_the_table_first_holds_are_told_apart() -> None:
    names = Names()
    lines = [
        json.dumps(GOOD | {"origin": f"host-{n}-{'x' * (n % 50)}"}).encode() for n in range(5000)
    ]
    records = decoder_for(spec(), names).decode(lines_of(lines))
    assert len(names) == 5001
    assert names.text(int(records.origin[4321])) == f"host-4321-{'x' * 21}"


def test_what_is_needed_of_a_record_is_known_beforehand() -> None:
    assert headers_needed(KAFKA) == ["fid", "origin"]
    assert not value_needed(KAFKA)
    assert not key_needed(KAFKA)
    assert columns_needed(KAFKA) == []
    assert columns_needed(spec("parquet")) == ["fid", "ts", "stream", "origin"]
    assert key_needed(spec(id=Place(builtin="key")))
    assert value_needed(spec(id=Place(builtin="content"), time=KAFKA.time))


def test_nulls_that_come_later_are_not_taken_for_what_came_before() -> None:
    names = Names()
    decoder = decoder_for(spec(id=Place(header="fid"), time=KAFKA.time), names)
    decoder._all_sql = True
    for values in ([b"{}"] * 3, [None] * 3, [b"{", None, b"{}"], [None]):
        batch = lines_of(values, fid=[b"\0\0\0\7"] * len(values))
        flaws = [row[0] for row in said(decoder.decode(batch), names)]
        assert flaws == ["malformed" if value == b"{" else "unattributed" for value in values]
