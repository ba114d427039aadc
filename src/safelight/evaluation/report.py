"""A report in one HTML file: pictures to compare with a slider, and a table of what was measured.

The file asks nothing of the network, and its policy forbids it to; it follows the reader's light or dark setting, is
usable by keyboard, and fits a telephone.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files

from safelight.media import image
from safelight.media.image import Picture
from safelight.metrics import METRICS, Metric

_DECIBELS = tuple(metric.title for metric in METRICS if isinstance(metric, Metric) and metric.unit == "dB")
_MOST_AS_PNG = 8_000_000  # pixels; beyond it a browser would have to load 30 MB and more for each picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One picture of a report.

    Attributes:
        name: as the reader sees it.
        content: a file that browsers show.
        media: its media type, such as "image/png".
        width: in pixels.
        height: in pixels.
        seconds: how long it took to make; None if nobody knows.
        scores: metric to value, such as {"PSNR": 28.42}.
        detail: one line on how it was made.
    """

    name: str
    content: bytes
    media: str
    width: int
    height: int
    seconds: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict[str, float])
    detail: str = ""


def candidate(
    name: str,
    picture: Picture,
    *,
    seconds: float | None = None,
    scores: Mapping[str, float] | None = None,
    detail: str = "",
) -> Candidate:
    """Make a picture part of a report: 8 bits, with its colour profile, without EXIF, which may tell the place.

    Up to 8 megapixels it is stored losslessly, beyond them as a JPEG of quality 95, and its detail says so.

    Args:
        name: as the reader shall see it.
        picture: any picture.
        seconds: how long it took to make.
        scores: metric to value.
        detail: one line on how it was made.

    Example:
        >>> import numpy as np
        >>> candidate("black", Picture(pixels=np.zeros((2, 3, 1), np.uint8))).media
        'image/png'
    """
    plain = replace(image.to_depth(picture, "8-bit"), exif=None, xmp=None)
    format = "png" if picture.width * picture.height <= _MOST_AS_PNG else "jpeg"  # noqa: A001
    if format == "jpeg":
        detail = f"{detail}; shown as JPEG of quality 95" if detail else "shown as JPEG of quality 95"
    return Candidate(
        name=name, content=image.encode(plain, format, quality=95), media=f"image/{format}", width=picture.width,
        height=picture.height, seconds=seconds, scores=scores or {}, detail=detail,
    )  # fmt: skip


def render(title: str, candidates: Sequence[Candidate], *, protocol: str = "", notes: Sequence[str] = ()) -> str:
    """Write the report.

    The first candidate stands left of the slider and the second right of it; the reader may choose others.

    Args:
        title: The heading.
        candidates: Two or more.
        protocol: How the scores were measured; a score without it is none.
        notes: Lines below the table.

    Returns:
        The whole HTML file.

    Raises:
        ValueError: Fewer than two candidates.
    """
    if len(candidates) < 2:
        raise ValueError(f"expected at least 2 pictures to compare, got {len(candidates)}; add one")
    widest = max(candidates, key=lambda c: c.width)
    pieces = {
        "title": html.escape(title),
        "width": str(widest.width),
        "height": str(widest.height),
        "pictures": "\n".join(_picture(i, c) for i, c in enumerate(candidates)),
        "left": _choices(candidates, 0),
        "right": _choices(candidates, 1),
        "table": _table(candidates),
        "protocol": f"<p>Measured on: {html.escape(protocol)}.</p>" if protocol else "",
        "notes": "".join(f"<p>{html.escape(note)}</p>" for note in notes),
    }
    text = files("safelight.evaluation").joinpath("report.html").read_text(encoding="utf-8")
    # In one pass: a name that holds braces is text, not another place to fill.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: pieces[match[1]], text)


def _picture(i: int, candidate: Candidate) -> str:
    data = base64.b64encode(candidate.content).decode()
    return f'<img id="p{i}" alt="{html.escape(candidate.name)}" hidden src="data:{candidate.media};base64,{data}">'


def _choices(candidates: Sequence[Candidate], chosen: int) -> str:
    return "".join(
        f'<option value="{i}"{" selected" if i == chosen else ""}>{html.escape(c.name)}</option>'
        for i, c in enumerate(candidates)
    )


def _table(candidates: Sequence[Candidate]) -> str:
    metrics = list(dict.fromkeys(name for c in candidates for name in c.scores))
    head = "".join(f"<th scope=col>{html.escape(h)}</th>" for h in ("Picture", "Size", "Time", *metrics))
    rows: list[str] = []
    for c in candidates:
        time = "" if c.seconds is None else f"{c.seconds:.2f} s"
        cells = [f"{c.width}×{c.height}", time, *(_score(name, c.scores.get(name)) for name in metrics)]  # noqa: RUF001
        detail = f"<small>{html.escape(c.detail)}</small>" if c.detail else ""
        body = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        rows.append(f"<tr><th scope=row>{html.escape(c.name)}{detail}</th>{body}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _score(name: str, value: float | None) -> str:
    if value is None:
        return ""
    if value == float("inf"):
        return "equal"
    return f"{value:.2f} dB" if name.startswith(_DECIBELS) else f"{value:.4f}"
