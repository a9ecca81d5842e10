"""The page and the result that are kept with the run: Great Expectations' Data Docs, made safe.

Data Docs put names of the data into the page as they are, and load scripts, fonts and pictures from
elsewhere. So text is escaped before it gets there, only known elements and attributes come out, and
the style is ours: the page needs no network, and no name of a stream can do anything in it.
"""

import json
from html import escape
from html.parser import HTMLParser
from typing import Any

from fidelity.check import great
from fidelity.check.checked import Checked, Row
from fidelity.report import iso
from fidelity.report.figures import shown

PAGE, RESULT = "index.html", "result.json"


def files_of(checked: Checked) -> dict[str, bytes]:
    """The files to be kept: Great Expectations' results, and a page of them."""
    document = {
        "pipeline": checked.pipeline,
        "run": checked.run,
        "as_of": iso(checked.as_of),
        "within": None if checked.within is None else [iso(at) for at in checked.within],
        "verdict": checked.verdict,
        "success": checked.verdict in ("pass", "pending"),
        "expectations": [each.document() for each in checked.expectations],
        "results": [_finite(result.to_json_dict()) for result in checked.results],
    }
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    about = (checked.pipeline, escape(shown(checked.run)), iso(checked.as_of))
    page = _page(checked, great.data_docs(*about, [_escaped(each) for each in checked.results]))
    return {RESULT: text.encode(), PAGE: page.encode()}


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
    if isinstance(value, tuple):  # of two columns: Data Docs would join them without a space
        return escape(", ".join(shown(str(each)) for each in value))
    if isinstance(value, list):
        return [_safe(each) for each in value]
    return escape(shown(value)) if isinstance(value, str) else value


def _page(checked: Checked, docs: str) -> str:
    kept = _Kept()
    kept.feed(docs.replace("Data asset: None<br>", ""))
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
    return f"{head}{_counts(checked)}{_worst(checked)}{kept.text}</body></html>\n"


def _counts(checked: Checked) -> str:
    """The expectations, and of how many scopes each is met: also those that nobody could judge."""
    names = (
        "", "expectation", "pass", "fail", "unknown", "pending", "not measurable", "tolerated"
    )  # fmt: skip
    head = "".join(f"<th>{name}</th>" for name in names)
    rows = "".join(
        f'<tr><td class="{each.verdict.split()[0]}">{each.verdict}</td>'
        f"<td>{escape(shown(each.name))}</td>"
        + "".join(f"<td>{number:,}</td>" for number in (*each.counts, each.tolerated))
        + "</tr>"
        for each in checked.expectations
    )
    return f"<h2>Expectations</h2><table><tr>{head}</tr>{rows}</table>"


def _worst(checked: Checked, at_most: int = 100) -> str:
    """What did not pass, in words: the page's first table."""
    if not checked.rows:
        return ""
    cells = "".join(_cells(row) for row in checked.rows[:at_most])
    rest = len(checked.rows) - at_most
    more = f"<p>... and {rest:,} more: fidelity check --json has them all.</p>" if rest > 0 else ""
    names = ("", "expectation", "stage", "against", "stream", "window", "what, and what to do")
    head = "".join(f"<th>{name}</th>" for name in names)
    return f"<h2>What did not pass</h2><table><tr>{head}</tr>{cells}</table>{more}"


def _cells(row: Row) -> str:
    """One row, its verdict by word and colour."""
    window = "" if row.window is None else iso(row.window)
    texts = (row.expectation, row.stage, row.against or "", row.stream, window)
    cells = "".join(f"<td>{escape(shown(text))}</td>" for text in texts)
    said = f"{escape(shown(row.message))}<br><i>{escape(shown(row.action))}</i>"
    name = row.verdict.split()[0]
    return f'<tr><td class="{name}">{row.verdict}</td>{cells}<td>{said}</td></tr>'


class _Kept(HTMLParser):
    """What the page says, from its first section on: known elements with harmless attributes.

    Of other elements the text stays, of scripts, menus and switches not even that.
    """

    _KNOWN = frozenset(
        (
            *("div", "span", "p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "br", "hr"),
            *("table", "thead", "tbody", "tr", "th", "td", "strong", "b", "em", "code", "pre"),
        )
    )
    _EMPTY = frozenset(("br", "hr"))
    _GONE = frozenset(
        (
            *("script", "style", "head", "title", "svg", "iframe", "noscript", "template"),
            *("nav", "footer", "button", "form", "select"),
        )
    )
    _ATTRIBUTES = frozenset(("class", "id", "colspan", "rowspan", "hidden"))
    _ICONS = (("fa-check", "pass", "✓"), ("fa-times", "fail", "✗"), ("fa-excl", "unknown", "!"))

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.gone: list[str] = []  # the elements that are left out with all that is in them
        self.begun = False

    @property
    def text(self) -> str:
        """The markup."""
        return "".join(self.parts)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        given = dict(attrs)
        self.begun |= given.get("id") == "section-1"
        if tag in self._GONE or (tag == "a" and "data-toggle" in given):
            self.gone.append(tag)
        elif tag == "i" and not self.gone:
            self.icon(given.get("class") or "")
        elif tag in self._KNOWN and not self.gone and self.begun:
            kept = [(name, held or "") for name, held in attrs if name in self._ATTRIBUTES]
            told = "".join(f' {name}="{escape(held)}"' for name, held in kept)
            self.parts.append(f"<{tag}{told}>")

    def icon(self, name: str) -> None:
        """A picture out of a font, as a letter."""
        for mark, verdict, letter in self._ICONS:
            if mark in name and self.begun:
                self.parts.append(f'<span class="{verdict}">{letter}</span>')

    def handle_endtag(self, tag: str) -> None:
        """An element ends."""
        if tag in self.gone:
            self.gone = self.gone[: len(self.gone) - 1 - self.gone[::-1].index(tag)]
        elif tag in self._KNOWN - self._EMPTY and not self.gone and self.begun:
            self.parts.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        """Text."""
        if self.begun and not self.gone:
            self.parts.append(escape(data))


_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;
color:#1c2733;background:#fff}
h1{font-size:1.5rem}h2,h3,h4,h5{font-size:1.1rem;margin:1.6rem 0 .4rem}
.fail{color:#b34700}.unknown{color:#8a1a8a}.pass{color:#0a4f9e}.pending,.not{color:#555}
table{border-collapse:collapse;width:100%;margin:.5rem 0}
td,th{border-bottom:1px solid #d5dce3;padding:.3rem .5rem;text-align:left;vertical-align:top;
overflow-wrap:anywhere}
th{color:#555;font-weight:600}code,.badge{font:.92em ui-monospace,monospace;background:#eef2f6;
padding:0 .25em;border-radius:3px}
.popover,.tooltip{display:none}
@media (prefers-color-scheme:dark){body{background:#14181d;color:#dde3ea}
td,th{border-color:#39424d}th{color:#aab4bf}code,.badge{background:#252c34}
.fail{color:#ff9d5c}.unknown{color:#f08af0}.pass{color:#7db8ff}.pending,.not{color:#aab4bf}}
"""
