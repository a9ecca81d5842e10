"""How figures are written for people. Never rounded towards better news, never "infinity"."""

from decimal import ROUND_FLOOR, Decimal

from fidelity.report import Books, iso

SYMBOLS = {"pass": "✓", "fail": "✗", "pending": "…", "unknown": "?"}
PLAIN_SYMBOLS = {"pass": "+", "fail": "x", "pending": ".", "unknown": "?"}


def count(number: int) -> str:
    """1,234,567."""
    return f"{number:,}"


def records(number: int) -> str:
    """`1 record`, `2 records`."""
    return f"{number:,} record{'' if number == 1 else 's'}"


def percent(share: float) -> str:
    """A share in per cent, with as many digits as tell it from 100 %, rounded down."""
    exact = Decimal(repr(share)) * 100
    shortfall = 100 - exact
    if shortfall <= 0:
        return "100 %"
    digits = max(2, 1 - shortfall.adjusted())
    text = f"{exact.quantize(Decimal(1).scaleb(-digits), ROUND_FLOOR):f}"
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(2, '0')} %"


def nines(books: Books) -> str:
    """`3.2 nines (3.1 to 3.4)`, or what can be said where nothing is missing or known."""
    if books.nines_low is None:
        return ""
    if books.nines is None:
        text = f"at least {_floor(books.nines_low)} nines"
    else:
        text = f"{_floor(books.nines)} nines ({_floor(books.nines_low)}"
        text += f" to {_floor(books.nines_high)})" if books.nines_high is not None else " or more)"
    return text if books.measurable else f"{text}, target not measurable"


def moment(microseconds: int | None) -> str:
    """A time, or `never`."""
    return "never" if microseconds is None or microseconds < 0 else iso(microseconds)


def window(start: int) -> str:
    """A window by its start, without seconds that are zero: narrow enough for a table."""
    text = moment(start)
    return f"{text[:-4]}Z" if text.endswith(":00Z") else text


def windows(books: Books) -> str:
    """`4 pass, 2 fail`."""
    order = ("fail", "unknown", "pending", "pass")
    return ", ".join(f"{books.windows[v]:,} {v}" for v in order if books.windows.get(v))


def shown(text: str) -> str:
    """Text that came from data, without what would steer a terminal."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def _floor(number: float) -> str:
    return str(Decimal(repr(max(number, 0.0))).quantize(Decimal("0.1"), ROUND_FLOOR))
