"""What of a configuration may be shown. When in doubt it is masked."""

import re
from collections.abc import Mapping

MASK = "********"

_NAMES = r"pass|pwd|secret|key|token|jaas|credential|signature|connection.?string|auth"
_SECRET = re.compile(_NAMES, re.IGNORECASE)
# Both pass over a long text once: an error may quote a whole record.
_USERINFO = re.compile(r"://[^/\s]+@")
_QUERY = re.compile(r"([?&][^=&\s]{0,256}+=)[^&\s]+")

# The values of this process's secrets, so that no library's error text can tell them either.
_known: set[str] = set()


def is_secret(name: str) -> bool:
    """Whether an option or variable of that name may hold a secret."""
    return _SECRET.search(name) is not None


def remember(value: str) -> None:
    """From now on `mask` takes this value out of any text."""
    if len(value) >= 4:  # "true" is the shortest that could be met by chance; shorter hides nothing
        _known.add(value)


def remembered() -> tuple[str, ...]:
    """The values that `mask` takes out, for a process elsewhere that is to mask them as well."""
    return tuple(sorted(_known))


def mask(text: str) -> str:
    """The text without users and passwords in addresses, and without any remembered secret."""
    for value in sorted(_known, key=len, reverse=True):
        text = text.replace(value, MASK)
    return _QUERY.sub(_masked_value, _USERINFO.sub(f"://{MASK}@", text))


def _masked_value(parameter: re.Match[str]) -> str:
    return f"{parameter[1]}{MASK}" if is_secret(parameter[1]) else parameter[0]


def shown_options(options: Mapping[str, str]) -> dict[str, str]:
    """Options as they may be shown."""
    return {name: MASK if is_secret(name) else mask(value) for name, value in options.items()}
