"""The page and the result that are kept with the run: Great Expectations' Data Docs, made safe.

Data Docs put names of the data into the page as they are, and load scripts, fonts and pictures from
elsewhere. So text is escaped before it gets there, only known elements and attributes come out, and
the style is ours: the page needs no network, and no name of a stream can do anything in it.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from typing import Any

from fidelity.check import great
from fidelity.check.checked import Checked
from fidelity.report import iso
from fidelity.report.figures import shown

PAGE, RESULT = "index.html", "result.json"


def with_files(checked: Checked, results: Sequence[Any]) -> Checked:
    """The answer with the files to be kept: Great Expectations' results, and a page of them."""
    document = {
        "pipeline": checked.pipeline,
        "run": checked.run,
        "as_of": iso(checked.as_of),
        "within": None if checked.within is None else [iso(at) for at in checked.within],
        "verdict": checked.verdict,
        "success": checked.verdict in ("pass", "pending"),
        "results": [_finite(result.to_json_dict()) for result in results],
    }
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    page = _page(checked, great.data_docs(checked.pipeline, [_escaped(each) for each in results]))
    return replace(checked, files={RESULT: text.encode(), PAGE: page.encode()})


def _finite(value: Any) -> Any:
    """JSON has no word for what is not a number."""
    if isinstance(value, dict):
        return {key: _finite(held) for key, held in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return value if not isinstance(value, float) or value - value == 0 else None


def _escaped(result: Any) -> Any:
    """A result whose texts are markup already: Data Docs escape nothing."""
    return type(result)(
        success=result.success,
        expectation_config=result.expectation_config,
        result=_safe(result.result),
        exception_info=result.exception_info,
        meta=result.meta,
    )


def _safe(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _safe(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_safe(each) for each in value]
    return escape(shown(value)) if isinstance(value, str) else value


def _page(checked: Checked, docs: str) -> str:
    kept = _Kept()
    kept.feed(docs)
    kept.close()
    words = f"{checked.pipeline}: {checked.verdict}"
    within = (
        ""
        if checked.within is None
        else (f", windows from {iso(checked.within[0])} to {iso(checked.within[1])}")
    )
    about = f"Run {checked.run}, as of {iso(checked.as_of)}{within}."
    head = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">"
        f"<title>{escape(shown(words))}</title><style>{_STYLE}</style></head><body>"
        f'<h1 class="{checked.verdict}">{escape(shown(words))}</h1><p>{escape(shown(about))}</p>'
    )
    return f"{head}{_worst(checked)}{kept.text}</body></html>\n"


def _worst(checked: Checked, at_most: int = 100) -> str:
    """What did not pass, in words; the page's first table."""
    if not checked.rows:
        return ""
    cells = "".join(
        "<tr>"
        f'<td class="{row.verdict.split()[0]}">{row.verdict}</td>'
        + "".join(
            f"<td>{escape(shown(str(each)))}</td>"
            for each in (
                row.expectation,
                row.stage,
                row.against or "",
                row.stream,
                "" if row.window is None else iso(row.window),
                row.message,
                row.action,
            )
        )
        + "</tr>"
        for row in checked.rows[:at_most]
    )
    rest = len(checked.rows) - at_most
    more = f"<p>... and {rest:,} more: fidelity check --json has them all.</p>" if rest > 0 else ""
    names = ("", "expectation", "stage", "against", "stream", "window", "what", "what to do")
    head = "".join(f"<th>{name}</th>" for name in names)
    return f"<h2>What did not pass</h2><table><tr>{head}</tr>{cells}</table>{more}"


class _Kept(HTMLParser):
    """Known elements with harmless attributes; of all others their text, of some not even that."""

    _KNOWN = frozenset(
        (
            *("div", "span", "p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "br", "hr"),
            *("table", "thead", "tbody", "tr", "th", "td", "strong", "b", "em", "i", "code", "pre"),
        )
    )
    _EMPTY = frozenset(("br", "hr"))
    _GONE = frozenset(
        [
            "script",
            "style",
            "head",
            "title",
            "svg",
            "footer",
            "button",
            "nav",
            "form",
            "select",
            "iframe",
        ]
    )
    _ATTRIBUTES = frozenset(("class", "id", "colspan", "rowspan"))

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.gone: list[str] = []  # the elements that are left out with all that is in them

    @property
    def text(self) -> str:
        """The markup."""
        return "".join(self.parts)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        if tag in self._GONE:
            self.gone.append(tag)
        elif tag in self._KNOWN and not self.gone:
            kept = [(name, held or "") for name, held in attrs if name in self._ATTRIBUTES]
            told = "".join(f' {name}="{escape(held)}"' for name, held in kept)
            self.parts.append(f"<{tag}{told}>")

    def handle_endtag(self, tag: str) -> None:
        """An element ends."""
        if tag in self._GONE:
            if tag in self.gone:
                self.gone = self.gone[: len(self.gone) - 1 - self.gone[::-1].index(tag)]
        elif tag in self._KNOWN and tag not in self._EMPTY and not self.gone:
            self.parts.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        """Text."""
        if not self.gone:
            self.parts.append(escape(data))


_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;
color:#1c2733;background:#fff}
h1{font-size:1.5rem}h2,h3,h4,h5{font-size:1.1rem;margin:1.6rem 0 .4rem}
.fail{color:#b34700}.unknown{color:#8a1a8a}.pass{color:#0a4f9e}.pending,.not{color:#555}
table{border-collapse:collapse;width:100%;margin:.5rem 0}
td,th{border-bottom:1px solid #d5dce3;padding:.3rem .5rem;text-align:left;vertical-align:top}
th{color:#555;font-weight:600}code,.badge{font:.92em ui-monospace,monospace;background:#eef2f6;
padding:0 .25em;border-radius:3px}
.popover,.tooltip{display:none}
@media (prefers-color-scheme:dark){body{background:#14181d;color:#dde3ea}
td,th{border-color:#39424d}th{color:#aab4bf}code,.badge{background:#252c34}
.fail{color:#ff9d5c}.unknown{color:#f08af0}.pass{color:#7db8ff}.pending,.not{color:#aab4bf}}
"""
