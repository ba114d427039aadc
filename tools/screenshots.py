"""Take the pictures of the page that the documents show: each tab, dark and light, and at 400 pixels.

    python tools/screenshots.py [--only TAB ...]

Needs ``safelight[web,test]`` and chromium. Starts a server of its own, and writes docs/page/*.jpg. Three minutes on two
cores. The photographs are those of scikit-image, in the public domain.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

import harness
import torch
from playwright.sync_api import Page, sync_playwright
from soak_server import serving

from safelight import degrade
from safelight.degrade import Downsample
from safelight.media import image

OUT: Final = harness.ROOT / "docs/page"
SCREENS: Final = {"dark": (1280, 900), "light": (1280, 900), "narrow-dark": (400, 860), "narrow-light": (400, 860)}
PHOTOS: Final = ("coffee", "chelsea")
TABS: Final = ("fix", "upscale", "denoise", "deblock", "inpaint", "stylize", "compare", "methods")


def main() -> None:
    """Take all pictures."""
    parser = harness.parser(__doc__)
    parser.add_argument("--only", nargs="*", choices=TABS, default=TABS)
    asked = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("expected chromium, found none; on Debian: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder, serving() as address, sync_playwright() as driver:
        found = pictures(Path(folder))
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for screen, (width, height) in SCREENS.items():
            context = browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme="light" if "light" in screen else "dark",
                bypass_csp=True,
            )
            page = context.new_page()
            page.set_default_timeout(60_000)
            for tab in asked.only:
                show(page, f"http://{address.host}:{address.port}", tab, found)
                page.screenshot(path=OUT / f"{tab}-{screen}.jpg", type="jpeg", quality=82)
                print(f"{tab}-{screen}")
            context.close()
        browser.close()


def pictures(folder: Path) -> dict[str, Path]:
    """Spoil photographs for each of the tasks."""
    cup, cat = (harness.as_tensor(harness.photograph(name)) for name in PHOTOS)
    made = {
        "small": Downsample(4)(cup.double()),
        "noisy": degrade.add_noise(cat, 25, torch.Generator().manual_seed(0)),
        "photo": cat,
        "original": cup,
    }
    found = {name: folder / f"{name}.png" for name in made} | {"jpeg": folder / "photo.jpg"}
    for name, x in made.items():
        image.write(harness.as_picture(x), found[name])
    image.write(harness.as_picture(cat), found["jpeg"], quality=12)
    return found


def show(page: Page, url: str, tab: str, found: dict[str, Path]) -> None:
    """Open a tab, and do with a picture what it is for."""
    page.goto("about:blank")
    page.goto(f"{url}/#{tab}")
    page.wait_for_selector("#tab-upscale")
    taken = {"fix": "jpeg", "deblock": "jpeg", "upscale": "small", "compare": "small", "denoise": "noisy"}
    if tab != "methods":
        page.set_input_files("#files", found[taken.get(tab, "photo")])
        page.wait_for_selector(".thumb", state="attached")
    match tab:
        case "compare":
            page.set_input_files("#compare-original", found["original"])
            page.get_by_role("button", name="Compare", exact=True).click()
            page.wait_for_function(
                "[...document.querySelectorAll('.grid .facts')].every(f => f.textContent.includes('dB'))"
            )
            page.locator(".grid").scroll_into_view_if_needed()
        case "methods":
            page.locator("[data-method='upscale/lamp']").click()
            page.wait_for_function("document.querySelector('.card dl')?.textContent.includes('a megapixel')")
        case "inpaint":
            paint(page)
        case "stylize":
            page.locator(".swatch").nth(0).click()
            page.wait_for_selector("#stop", state="hidden")
            page.locator(".swatch").nth(3).click()
            finish(page)
        case _:
            page.click("#run")
            finish(page)
    page.wait_for_timeout(600)


def finish(page: Page) -> None:
    """Wait for the result, and for what the page tells of the method."""
    page.wait_for_selector("#download:visible")
    page.wait_for_selector("#stop", state="hidden")
    page.evaluate("scrollTo(0, 0)")


def paint(page: Page) -> None:
    """Paint over the cat's whiskers."""
    page.wait_for_selector(".sheet canvas")
    box = page.locator(".sheet canvas").bounding_box()
    assert box is not None
    for points in (((0.30, 0.55), (0.42, 0.62)), ((0.62, 0.60), (0.74, 0.52))):
        for n, (x, y) in enumerate(points):
            page.mouse.move(box["x"] + box["width"] * x, box["y"] + box["height"] * y, steps=8)
            if n == 0:
                page.mouse.down()
        page.mouse.up()


if __name__ == "__main__":
    main()
