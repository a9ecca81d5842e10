"""UTF-8 as the Unicode standard has it (table 3-7): no overlong forms, no surrogates, no more than
U+10FFFF. What DuckDB's decode() takes, and nothing else.
"""

from numba import njit

from fidelity.decode.words import Number, byte, lowest, oddities


@njit(cache=True)
def _continues(at: Number) -> bool:
    return bool(byte(at) & 0xC0 == 0x80)


@njit(cache=True)
def after_letter(at: Number) -> Number:
    """The address after the letter of 2 to 4 bytes at an address; 0 if there is none.

    Reads up to 4 bytes, whatever the slice's end: the caller checks the result against that.
    """
    lead, second = byte(at), byte(at + 1)
    if lead < 0xC2 or second & 0xC0 != 0x80:
        return 0
    if lead < 0xE0:
        return at + 2
    if not _continues(at + 2):
        return 0
    if lead < 0xF0:
        overlong = lead == 0xE0 and second < 0xA0
        surrogate = lead == 0xED and second >= 0xA0
        return 0 if overlong or surrogate else at + 3
    in_range = lead < 0xF4 or (lead == 0xF4 and second < 0x90)
    overlong = lead == 0xF0 and second < 0x90
    return at + 4 if in_range and not overlong and _continues(at + 3) else 0


@njit(cache=True)
def is_text(start: Number, end: Number) -> bool:
    """Whether the bytes of memory [start, end) are UTF-8 without a NUL; 64 more are readable."""
    at = start
    while at < end:
        odd = oddities(at)
        if odd == 0:
            at += 64
            continue
        at += lowest(odd)
        if at >= end:
            return True
        if byte(at) == 0:
            return False
        at = after_letter(at)
        if at == 0 or at > end:
            return False
    return True
