"""The report as a PDF: A4 pages with the findings' table, key pictures, settings, and the notice on every page."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from ..errors import DependencyError
from .finding_pictures import KeyPicture, key_pictures
from .origin import Words
from .report_content import ReportContent, Table, caption, report_content
from .whole_file import whole_file

if TYPE_CHECKING:
    from ..detection import Detection
    from .origin import Origin

# What fits beside each other on a page; CSV and HTML have all columns.
_COLUMNS = (
    *("id", "where", "tissue", "place", "volume_ml", "looks", "contrasts", "change", "change_ml", "peak"),
    *("ventricle_mm", "review", "comment"),
)
_FONT, _BOLD = "DejaVuSans", "DejaVuSans-Bold"
# A4, and the 6 points that reportlab leaves inside a frame on either side.
_MARGIN_MM, _WIDTH_MM = 16.0, 173.0
# The longest table on pages: a low threshold leaves thousands of rows.
_MOST_ROWS = 200


def write_pdf(detection: Detection, path: str | Path, words: Words | None = None) -> Path:
    """Write the report to ``path`` (.pdf) and return it. Raises OutputError, DependencyError without reportlab."""
    path, page = Path(path), report_pdf(detection, words)
    with whole_file(path, f"The report '{path}'") as fresh:
        fresh.write_bytes(page)
    return path


def write_result_pdf(detection: Detection, path: Path, origin: Origin) -> None:
    """The report as a format of a result: see ``formats``."""
    write_pdf(detection, path, origin.words)


def check_pdf(origin: Origin) -> None:
    """Raise DependencyError where the PDF library is missing."""
    _reportlab()


def report_pdf(detection: Detection, words: Words | None = None) -> bytes:
    """The PDF as bytes; nothing in it depends on when it was made. Raises DependencyError."""
    _reportlab()
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.units import mm
    from reportlab.platypus import SimpleDocTemplate

    content, pictures = report_content(detection, words, _COLUMNS), key_pictures(detection)
    stream = io.BytesIO()
    margin = _MARGIN_MM * mm
    document = SimpleDocTemplate(
        stream,
        pagesize=A4,
        **dict.fromkeys(("leftMargin", "rightMargin"), margin),
        **dict.fromkeys(("topMargin", "bottomMargin"), 1.2 * margin),
        title=content.title,
        author="",
        creator=content.notice,
        invariant=1,
    )
    footer = _footer(content)
    document.build(_story(content, pictures), onFirstPage=footer, onLaterPages=footer)
    return stream.getvalue()


def _story(content: ReportContent, pictures: Sequence[KeyPicture]) -> list[Any]:
    from reportlab.platypus import Paragraph, Spacer

    styles = _styles()
    story = [Paragraph(escape(content.title), styles["title"])]
    story += [Paragraph(escape(content.heading), styles["body"])] if content.heading else []
    story += [Paragraph(f"<b>{escape(content.notice)}</b> {escape(content.caution)}", styles["notice"])]
    story += [Paragraph(f"Warning: {escape(text)}", styles["body"]) for text in content.warnings]
    story += [Paragraph(content.findings.title, styles["heading"]), Paragraph(content.sentence, styles["body"])]
    story += _limited(content.findings, styles)
    for group in content.groups:
        story += [Paragraph(group.title, styles["heading"]), _table(group, styles, (0.5, 0.15, 0.2))]
    for picture in pictures:
        story += [Spacer(0, 8), _picture(picture, styles)]
    settings = _table(content.settings, styles, (0.25, 0.75))
    return [*story, Paragraph(content.settings.title, styles["heading"]), settings]


def _limited(table: Table, styles: dict[str, Any]) -> list[Any]:
    """The findings as far as they fit on a few pages."""
    from reportlab.platypus import Paragraph

    if not table.rows:
        return []
    shares = _shares(table)
    shown = [_table(Table(table.title, table.header, table.rows[:_MOST_ROWS]), styles, shares)]
    more = len(table.rows) - _MOST_ROWS
    return [*shown, Paragraph(f"{more} smaller ones are in the table of the result.", styles["body"])][: 1 + (more > 0)]


def _shares(table: Table) -> Sequence[float]:
    """Of the width for each column, by the longest word and the length of its cells."""
    wanted = []
    for place, title in enumerate(table.header):
        words = max(len(word) for word in title.split()) + 1
        wanted.append(max(words, min(22, max(len(row[place]) for row in table.rows))))
    return [value / sum(wanted) for value in wanted]


def _table(table: Table, styles: dict[str, Any], shares: Sequence[float]) -> Any:
    from reportlab.lib import colors
    from reportlab.lib.units import mm
    from reportlab.platypus import LongTable, Paragraph

    rows = [[Paragraph(f"<b>{escape(cell)}</b>", styles["cell"]) for cell in table.header]] if table.header else []
    rows += [[Paragraph(escape(cell), styles["cell"]) for cell in row] for row in table.rows]
    made = LongTable(
        rows, [share * _WIDTH_MM * mm for share in shares], repeatRows=int(bool(table.header)), hAlign="LEFT"
    )
    lines = [("GRID", (0, 0), (-1, -1), 0.4, colors.HexColor("#cccccc")), ("VALIGN", (0, 0), (-1, -1), "TOP")]
    made.setStyle([*lines, *((f"{side}PADDING", (0, 0), (-1, -1), 2) for side in ("LEFT", "RIGHT", "TOP", "BOTTOM"))])
    return made


def _picture(picture: KeyPicture, styles: dict[str, Any]) -> Any:
    from reportlab.lib.units import mm
    from reportlab.lib.utils import ImageReader
    from reportlab.platypus import Image, KeepTogether, Paragraph

    width, height = ImageReader(io.BytesIO(picture.png)).getSize()
    wide = 0.58 * _WIDTH_MM * mm
    image = Image(io.BytesIO(picture.png), wide, wide * height / width, hAlign="LEFT")
    return KeepTogether([image, Paragraph(escape(caption(picture)), styles["body"])])


def _footer(content: ReportContent) -> Callable[[Any, Any], None]:
    """The notice and the page's number at the foot of every page."""

    def draw(canvas: Any, document: Any) -> None:
        from reportlab.lib.units import mm

        canvas.setFont(_FONT, 7)
        canvas.drawString(_MARGIN_MM * mm, 9 * mm, content.notice)
        canvas.drawRightString((_MARGIN_MM + _WIDTH_MM) * mm, 9 * mm, f"Page {document.page}")

    return draw


def _styles() -> dict[str, Any]:
    from reportlab.lib import colors
    from reportlab.lib.styles import ParagraphStyle

    _register_fonts()
    body = ParagraphStyle("body", fontName=_FONT, fontSize=9, leading=12, spaceAfter=4)
    return {
        "body": body,
        "cell": ParagraphStyle("cell", body, fontSize=7, leading=8.5, spaceAfter=0, splitLongWords=True),
        "title": ParagraphStyle("title", body, fontName=_BOLD, fontSize=16, leading=20, spaceAfter=8),
        "heading": ParagraphStyle("heading", body, fontName=_BOLD, fontSize=11, leading=14, spaceBefore=10),
        "notice": ParagraphStyle(
            "notice", body, borderWidth=0.8, borderColor=colors.HexColor("#aa4400"), borderPadding=5, spaceAfter=12
        ),
    }


def _register_fonts() -> None:
    """DejaVu Sans, which comes with matplotlib: names in most scripts of Europe."""
    import matplotlib
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for name in (_FONT, _BOLD):
        if name not in pdfmetrics.getRegisteredFontNames():
            pdfmetrics.registerFont(TTFont(name, str(folder / f"{name}.ttf")))
    pdfmetrics.registerFontFamily(_FONT, normal=_FONT, bold=_BOLD, italic=_FONT, boldItalic=_BOLD)


def _reportlab() -> None:
    try:
        import reportlab  # noqa: F401
    except ImportError as error:
        raise DependencyError(
            f"A PDF report needs the Python package {error.name}.", "Install reportlab, or write the HTML report."
        ) from error
