"""What one text of the pipeline file means. Each reader raises ValueError saying what is wrong."""

import difflib
import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from urllib.parse import urlsplit

_UNITS = {
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")

LARGEST_SAMPLE = 2**31
"""One in so many ids keeps two of all that there are; the store has no room for more."""


def nearest(word: str, valid: Iterable[str]) -> str:
    """ "Did you mean …?" with the nearest of the valid words, or nothing if none is near."""
    names = {name.lower(): name for name in valid}
    found = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.5)
    return f"Did you mean `{names[found[0]]}`?" if found else ""


def duration(text: str) -> int:
    """Microseconds of "10m", "30s", "1h30m", "1d"."""
    rest, total = text.strip(), Decimal(0)
    matches = list(_DURATION.finditer(rest))
    if not matches or "".join(match.group(0) for match in matches) != rest:
        raise ValueError(f"`{text}` is not a duration: write a number and ms, s, m, h or d, as 10m")
    for match in matches:
        total += Decimal(match.group(1)) * _UNITS[match.group(2)]
    if total != int(total):
        raise ValueError(f"`{text}` is finer than a microsecond")
    return int(total)


def duration_or_never(text: str) -> int | None:
    """Microseconds of a duration; None of "never"."""
    return None if text.strip() == "never" else duration(text)


def duration_text(microseconds: int) -> str:
    """The shortest text that `duration` reads as this number."""
    if microseconds == 0:
        return "0s"
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        count, microseconds = divmod(microseconds, _UNITS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def share(text: str) -> float:
    """A share from 0 to 1: "99.99%" or "0.9999"."""
    number, percent = text.strip(), False
    if number.endswith("%"):
        number, percent = number[:-1].rstrip(), True
    try:
        value = Decimal(number)
    except InvalidOperation:
        raise ValueError(f"`{text}` is not a share: write 99.99% or 0.9999") from None
    value = value / 100 if percent else value
    if not value.is_finite() or not 0 <= value <= 1:
        hint = "" if percent else f" Is `{number}%` meant?"
        raise ValueError(f"`{text}` is not between 0 and 100 %.{hint}")
    return float(value)


def share_text(value: float) -> str:
    """A share as a percentage, without rounding it up to 100 %."""
    return f"{(Decimal(str(value)) * 100).normalize():f}%"


def quantile(text: str) -> str:
    """A quantile's name in one form: "p99", "p99.9", "max"."""
    found = re.fullmatch(r"p(\d{1,2}(?:\.\d{1,6})?)", text.strip())
    if text.strip() == "max":
        return "max"
    if found is None or Decimal(found[1]) == 0:
        raise ValueError(f"`{text}` is not a quantile: write p50, p99, p99.9 or max")
    return f"p{Decimal(found[1]).normalize():f}"


def one_in(text: str) -> int:
    """k of "1/k", "1%" or "0.01"."""
    number = text.strip()
    try:
        part = Fraction(number[:-1].strip()) / 100 if number.endswith("%") else Fraction(number)
    except (ValueError, ZeroDivisionError):
        part = Fraction(0)
    if part.numerator != 1:
        raise ValueError(f"`{text}` is not a sample: write one in so many, as 1/100")
    if part.denominator >= LARGEST_SAMPLE:
        raise ValueError(f"`{text}` would keep no id, or one: ids have 32 bits")
    return part.denominator


def whole(text: str) -> int:
    """A whole number, 0 or more."""
    if not re.fullmatch(r"[0-9]{1,9}", text.strip()):
        raise ValueError(f"`{text}` is not a whole number, 0 or more")
    return int(text)


def name(text: str) -> str:
    """A name of a pipeline or stage: it becomes part of paths, addresses and metrics."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"`{text}` is not a name: letters, digits, `-`, `_` and `.`, at most 100")
    return text


def words(text: str) -> str:
    """Any text that is not empty."""
    if not text.strip():
        raise ValueError("is empty")
    if "\0" in text:
        raise ValueError("holds a NUL character")
    return text


def regex(text: str) -> str:
    """A regular expression with exactly one group."""
    try:
        groups = re.compile(text).groups
    except re.error as error:
        raise ValueError(f"`{text}` is not a regular expression: {error}") from None
    if groups != 1:
        raise ValueError(
            f"`{text}` has {groups} groups: it needs exactly one, around the value; "
            "write (?:...) for the others"
        )
    return text


def yes_or_no(text: str) -> bool:
    """true or false, as YAML writes them."""
    if text not in ("true", "false", "yes", "no"):
        raise ValueError(f"`{text}` is neither `true` nor `false`")
    return text in ("true", "yes")


def local_path(text: str) -> str:
    """A path of this machine."""
    if "://" in text:
        raise ValueError("must be a file of this machine, not an address")
    return words(text)


def web_address(text: str) -> str:
    """An address of a web server, http:// or https://."""
    try:
        url = urlsplit(text)
        known = url.scheme in ("http", "https") and bool((url.hostname or "").encode("idna"))
        known = known and (url.port is None or url.port > 0)
    except ValueError:
        known = False
    if not known or not text.isprintable() or " " in text or "#" in text:
        raise ValueError("is not an address as http://host:9091 or https://host/path")
    return text


def host_and_port(text: str) -> str:
    """host:port; an IPv6 address stands in brackets."""
    host, _, port = text.rpartition(":")
    whole_host = re.fullmatch(r"\[[0-9A-Fa-f:.%]+\]|[^\s:/@\[\]]+", host)
    if not whole_host or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65_536:
        raise ValueError(f"`{text}` is not a host and port, as opentsdb.example:4242")
    return text
