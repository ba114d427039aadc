"""The one-file HTML report."""

import html.parser
import re

import numpy as np
import pytest

from safelight.evaluation import report
from safelight.media.image import Picture


def page(*names: str, **options) -> str:
    pictures = [Picture(pixels=np.full((6, 8, 3), 40 * i, np.uint8)) for i in range(len(names))]
    made = [
        report.candidate(name, picture, seconds=0.5, scores={"PSNR": 28.421, "SSIM": 0.81041})
        for name, picture in zip(names, pictures, strict=True)
    ]
    return report.render("A & B", made, **options)


def test_it_asks_nothing_of_the_network_and_forbids_it():
    text = page("a", "b")
    assert "default-src 'none'" in text
    assert not re.findall(r"(?:https?:)?//[a-z]", re.sub(r"data:image/[^\"]*", "", text))
    assert text.count("data:image/png;base64,") == 2


def test_names_are_text_not_markup():
    text = page("<script>alert(1)</script>", "{{table}}")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert text.count("<table>") == 1
    assert "{{table}}" in text


def test_it_shows_scores_times_protocol_and_notes():
    text = page("a", "b", protocol="Y, shave 4", notes=["One run."])
    for part in ("28.42 dB", "0.8104", "0.50 s", "8×6", "Measured on: Y, shave 4.", "<p>One run.</p>", "A &amp; B"):  # noqa: RUF001
        assert part in text


def test_a_missing_score_is_empty_and_equal_pictures_are_said_to_be():
    black = Picture(pixels=np.zeros((2, 2, 1), np.uint8))
    made = [report.candidate("a", black, scores={"PSNR": float("inf")}), report.candidate("b", black)]
    assert ">equal<" in report.render("t", made)


def test_every_control_has_a_label():
    class Controls(html.parser.HTMLParser):
        inside, bare = 0, 0

        def handle_starttag(self, tag, attrs):
            if tag == "label":
                self.inside += 1
            if tag in ("select", "input") and not self.inside and "aria-label" not in dict(attrs):
                self.bare += 1

        def handle_endtag(self, tag):
            self.inside -= tag == "label"

    parser = Controls()
    parser.feed(page("a", "b"))
    assert parser.bare == 0


def test_metadata_stays_at_home_and_depth_is_what_browsers_show():
    picture = Picture(pixels=np.full((4, 4, 3), 65535, np.uint16), xmp=b"<x:xmpmeta>secret place</x:xmpmeta>")
    made = report.candidate("a", picture)
    assert b"secret place" not in made.content
    assert made.content[24] == 8  # bits a sample in the PNG's header


def test_a_large_picture_is_a_jpeg_and_says_so():
    made = report.candidate("a", Picture(pixels=np.zeros((2001, 4000, 1), np.uint8)), detail="edsr")
    assert made.media == "image/jpeg"
    assert made.detail == "edsr; shown as JPEG of quality 95"


def test_one_picture_is_no_comparison():
    with pytest.raises(ValueError, match="at least 2"):
        page("a")
