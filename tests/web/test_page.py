"""The page, in a browser, as people use it."""

import io
import re
import shutil
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

import safelight
from safelight import catalog
from safelight.media import image
from support.server import a_file, drawn, running

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

playwright = pytest.importorskip("playwright.sync_api", reason="the page's tests need playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="the page's tests need chromium")

# What a browser says of the server's own refusals, which the page tells in words.
REFUSED = re.compile("the server responded with a status of 4(01|22|29)|status of 503")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        made = driver.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"],
        )
        yield made
        made.close()


class Shown:
    """The page of a server, in a window of its own."""

    def __init__(self, browser, url, **window):
        window.setdefault("viewport", {"width": 1200, "height": 850})
        self.context = browser.new_context(accept_downloads=True, **window)
        self.context.add_init_script(NOTE)
        self.page = self.context.new_page()
        self.page.set_default_timeout(30_000)
        self.asked, self.wrong = [], []
        self.page.on("request", lambda request: self.asked.append(request))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", lambda said: self._hear(said))
        self.url = url
        self.page.goto(url)
        self.page.wait_for_selector("[role=tab][aria-selected=true]")

    def _hear(self, said):
        if said.type == "error" and not REFUSED.search(said.text):
            self.wrong.append(said.text)

    def close(self):
        foreign = [r.url for r in self.asked if not r.url.startswith((self.url, "blob:", "data:"))]
        self.context.close()
        assert foreign == []
        assert self.wrong == []

    def until(self, expression, seconds=30):
        """Wait until something holds; Playwright's own way would be eval, which the page forbids."""
        end = time.monotonic() + seconds
        while not self.page.evaluate(expression):
            assert time.monotonic() < end, expression
            self.page.wait_for_timeout(50)

    def tab(self, name):
        self.page.click(f"#tab-{name}")

    def give(self, *files):
        self.page.set_input_files("#files", [{"name": n, "mimeType": t, "buffer": b} for n, t, b in files])
        self.until(f"document.querySelectorAll('.thumb').length >= {len(files)}")

    def run(self):
        self.page.click("#run")

    def sent(self, verb, later):
        """What the last form said that was sent to a verb, as a job or not; its files as bytes."""
        here = f"window.sent.findLastIndex(s => s.url.endsWith('/{verb}') && s.later === {str(later).lower()})"
        self.until(f"{here} >= 0")
        fields = self.page.evaluate(READ, self.page.evaluate(here))
        return {n: [bytes(v) if isinstance(v, list) else v for v in values] for n, values in fields.items()}

    def download(self, button="#download"):
        with self.page.expect_download() as coming:
            self.page.click(button)
        return coming.value.suggested_filename, Path(coming.value.path()).read_bytes()

    def picture(self):
        """The size of the picture that is seen, WxH."""
        size = "(n => n.naturalWidth + 'x' + n.naturalHeight)(document.querySelector('.layer img'))"
        return self.page.evaluate(size)


@pytest.fixture
def shown(browser, server):
    made = Shown(browser, server.url)
    yield made
    made.close()


# Forms with files are not to be seen from outside: the page's own calls are noted on their way.
NOTE = """(() => {
    window.sent = [];
    const fetch = window.fetch;
    window.fetch = (url, options) => {
        const later = Boolean(options?.headers?.Prefer);
        if (options?.body instanceof FormData) window.sent.push({url, later, form: options.body});
        return fetch(url, options);
    };
})()"""
READ = """async n => {
    const fields = {};
    for (const [name, value] of window.sent[n].form.entries()) {
        const read = value instanceof Blob ? [...new Uint8Array(await value.arrayBuffer())] : value;
        (fields[name] ??= []).push(read);
    }
    return fields;
}"""


def with_place(file):
    """A JPEG file with EXIF that tells of a camera."""
    from PIL import Image

    exif = Image.Exif()
    exif[0x010F] = "A camera"
    out = io.BytesIO()
    Image.open(io.BytesIO(file)).convert("RGB").save(out, "jpeg", quality=90, exif=exif)
    return out.getvalue()


# --- one picture ------------------------------------------------------------------------------------------------------


def test_drop_run_slide_download(shown, server):
    file = with_place(a_file(height=40, width=60))
    page = shown.page
    page.evaluate(
        """bytes => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "holiday.jpg", {type: "image/jpeg"}));
            document.getElementById("drop").dispatchEvent(
                new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true}));
        }""",
        list(file),
    )
    page.wait_for_selector(".thumb")
    page.select_option("#method", "fsrcnn")
    page.click(".chips button >> nth=0")
    shown.run()
    page.wait_for_selector("#download:visible")
    assert shown.picture() == "120x80"
    # The same bytes as the API's, with the metadata that the file came with.
    name, got = shown.download()
    said = {"method": "fsrcnn", "scale": "2", "keep_metadata": "true"}
    assert name == "holiday-upscale.jpg"
    assert got == server.client.post("/upscale", params=said, content=file).content
    assert b"A camera" in got
    # The slider is for the mouse and for keys.
    edge = page.locator(".edge")
    frame = page.locator(".frame").bounding_box()
    page.mouse.move(frame["x"] + frame["width"] / 2, frame["y"] + 20)
    page.mouse.down()
    page.mouse.move(frame["x"] + frame["width"] * 0.25, frame["y"] + 20)
    page.mouse.up()
    assert edge.evaluate("e => parseFloat(e.style.left)") == pytest.approx(25, abs=1)
    page.focus(".split")
    page.keyboard.press("Home")
    assert edge.evaluate("e => parseFloat(e.style.left)") == 0
    assert "inset(0px 100% 0px 0px)" in page.locator(".layer").nth(1).evaluate("e => e.style.clipPath")


def test_zoom_and_magnifier(shown):
    shown.give(("a.png", "image/png", a_file(height=60, width=80)))
    page = shown.page
    page.focus(".frame")
    page.keyboard.press("1")  # one pixel of the screen for one of the picture
    assert page.locator(".layer img").bounding_box()["width"] == pytest.approx(80, abs=0.5)
    page.keyboard.press("0")
    assert page.locator(".layer img").bounding_box()["width"] > 400
    page.keyboard.press("m")
    assert page.locator(".lens").is_visible()
    middle = "c => [...c.getContext('2d').getImageData(85, 85, 1, 1).data]"
    seen = page.locator(".lens canvas").last.evaluate(middle)
    assert np.abs(np.array(seen[:3]) - drawn(60, 80)[30, 40].astype(int)).max() <= 1
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert page.locator(".lens canvas").last.evaluate(middle) != seen


def test_paste_and_photograph(shown):
    page = shown.page
    page.evaluate(
        """bytes => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "image.png", {type: "image/png"}));
            document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true}));
        }""",
        list(a_file()),
    )
    page.wait_for_selector(".thumb:has-text('image.png')")
    page.click("#camera")
    page.wait_for_selector("#shoot:visible")
    page.click("#shoot")
    page.wait_for_selector(".thumb:has-text('photograph.png')")


def test_a_format_that_browsers_cannot_show(shown):
    tiff = a_file("tiff", dtype=np.uint16)
    shown.give(("scan.tif", "image/tiff", tiff))
    shown.page.select_option("#method", "bicubic")
    shown.run()
    shown.page.wait_for_selector("#download:visible")
    name, got = shown.download()
    made = image.read(got)
    assert (name, made.pixels.dtype, made.pixels.shape) == ("scan-upscale.tif", np.uint16, (96, 128, 3))


def test_a_name_is_no_markup(shown):
    shown.give(("<img src=x onerror=alert(1)>.png", "image/png", a_file()))
    assert shown.page.locator(".thumb .name").inner_text() == "<img src=x onerror=alert(1)>.png"


def test_what_is_no_picture_is_told(shown):
    shown.page.set_input_files("#files", [{"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"}])
    shown.until("document.getElementById('said').textContent.includes('a.png')")
    assert shown.page.locator(".thumb").count() == 0
    assert shown.page.locator("#run").is_disabled()


# --- several ----------------------------------------------------------------------------------------------------------


def test_several_as_a_zip(shown, server):
    files = {f"p{n}.png": a_file(seed=n) for n in range(3)}
    shown.give(*((name, "image/png", file) for name, file in files.items()), ("p0.png", "image/png", files["p0.png"]))
    shown.page.select_option("#method", "bicubic")
    assert shown.page.locator("#run").inner_text() == "Enlarge all 4"
    shown.run()
    shown.page.wait_for_selector("#zip:visible")
    shown.page.wait_for_selector("#stop", state="hidden")
    _, got = shown.download("#zip")
    with zipfile.ZipFile(io.BytesIO(got)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [
            "p0-upscale.png", "p1-upscale.png", "p2-upscale.png", "p0-upscale-2.png",
        ]  # fmt: skip
        said = {"method": "bicubic", "keep_metadata": "true"}
        for name, file in files.items():
            made = archive.read(name.replace(".png", "-upscale.png"))
            assert made == server.client.post("/upscale", params=said, content=file).content


def test_a_busy_server_is_asked_again(browser):
    with running(each=1) as server:
        shown = Shown(browser, server.url)
        shown.give(*((f"p{n}.png", "image/png", a_file(seed=n)) for n in range(3)))
        shown.page.select_option("#method", "bicubic")
        shown.run()
        shown.page.wait_for_selector("#stop", state="hidden")
        assert all(" s" in note for note in shown.page.locator(".thumb .note").all_inner_texts())
        shown.close()


# --- every tab --------------------------------------------------------------------------------------------------------


def test_every_method_is_offered(shown):
    for task in ("upscale", "denoise", "deblock", "inpaint", "stylize"):
        shown.tab(task)
        offered = shown.page.locator("#method option").evaluate_all("all => all.map(each => each.value)")
        assert sorted(offered) == sorted(card.name for card in catalog.of_task(task))


def test_a_method_tells_its_quality_and_time(shown):
    shown.page.select_option("#method", "fsrcnn")
    shown.until("document.getElementById('facts').textContent.includes('megapixel here')")
    assert "30.81 dB (Set5 x4 Y-PSNR)" in shown.page.locator("#facts").inner_text()


def test_fix(shown, server):
    file = a_file("jpeg")
    shown.tab("fix")
    shown.give(("a.jpg", "image/jpeg", file))
    shown.run()
    shown.page.wait_for_selector("#download:visible")
    expected = server.client.post("/fix", params={"keep_metadata": "true"}, content=file).content
    assert shown.download()[1] == expected


def test_a_mask_is_painted(shown):
    page = shown.page
    shown.tab("inpaint")
    shown.give(("a.png", "image/png", a_file(height=48, width=64)))
    page.wait_for_selector(".sheet canvas")
    page.click("#run")
    assert "Paint over" in page.locator("#said").inner_text()
    page.locator("input[aria-label='Brush size']").fill("8")
    box = page.locator(".sheet canvas").bounding_box()

    def at(x, y):
        return box["x"] + box["width"] * x, box["y"] + box["height"] * y

    def stroke(*points):
        page.mouse.move(*at(*points[0]))
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*at(*point), steps=4)
        page.mouse.up()

    stroke((0.25, 0.5), (0.75, 0.5))
    stroke((0.5, 0.1), (0.5, 0.2))
    page.click("text=Undo")  # the second
    page.click("text=Eraser")
    stroke((0.7, 0.5), (0.78, 0.5))
    page.click("text=Brush")
    page.focus(".sheet canvas")
    page.keyboard.press("Shift+ArrowUp")  # by keyboard: 40 pixels of the screen up, and a dab
    page.keyboard.press("Space")
    page.fill("#field-iterations", "3")
    page.select_option("#field-network", "light")
    shown.run()
    mask = image.read(shown.sent("inpaint", later=True)["mask"][0]).pixels[..., 0]
    assert mask.shape == (48, 64)
    assert set(np.unique(mask)) == {0, 255}
    assert mask[24, 20] == 255  # painted
    assert mask[6, 32] == 0  # taken back
    assert mask[24, 47] == 0  # wiped away
    assert mask[:20].any()  # the dab
    page.wait_for_selector("#download:visible")
    made = image.read(shown.download()[1]).pixels
    known = mask == 0
    assert np.array_equal(made[known], drawn(48, 64)[known])


def test_styles_are_mixed_by_sliders(shown):
    page = shown.page
    shown.tab("stylize")
    shown.give(("a.png", "image/png", a_file(height=300, width=400)))
    shown.until("[...document.querySelectorAll('.swatch img')].every(i => i.naturalWidth > 0)")
    page.locator(".swatch").nth(0).click()
    page.locator(".swatch").nth(1).click()  # while the first one is under way
    shown.until("window.sent.at(-1)?.form.getAll('style').length === 2")
    page.wait_for_selector("#stop", state="hidden")
    assert page.locator(".style input:visible").count() == 2
    # While it moves: small, and at once. When it is let go: the whole picture, as a job.
    slider = page.locator(".style input:visible").first
    slider.evaluate("s => { s.value = 80; s.dispatchEvent(new Event('input', {bubbles: true})); }")
    said = shown.sent("stylize", later=False)
    assert image.read(said["picture"][0]).pixels.shape == (192, 256, 3)
    assert said["style_weights"] == ["0.800,0.500"]
    page.evaluate("window.sent = []")
    slider.evaluate("s => s.dispatchEvent(new Event('change', {bubbles: true}))")
    said = shown.sent("stylize", later=True)
    assert image.read(said["picture"][0]).pixels.shape == (300, 400, 3)
    assert said["style_weights"] == ["0.800,0.500"]
    page.wait_for_selector("#download:visible")
    page.wait_for_selector("#stop", state="hidden")
    assert shown.picture() == "400x300"


def test_looks_are_shown_on_the_picture(shown):
    shown.tab("stylize")
    shown.give(("a.png", "image/png", a_file(height=60, width=80)))
    shown.page.select_option("#method", "johnson")
    shown.until(
        "document.querySelectorAll('.swatch').length === 4"
        " && [...document.querySelectorAll('.swatch img')].every(i => i.naturalWidth === 80)"
    )
    shown.page.click(".swatch:has-text('Scream')")
    shown.page.wait_for_selector("#download:visible")
    assert shown.page.locator("#field-look").input_value() == "scream"


def test_a_long_run_is_seen_and_stopped(shown):
    page = shown.page
    shown.tab("denoise")
    shown.give(("a.png", "image/png", a_file(height=64, width=64)))
    page.select_option("#method", "dip")
    page.fill("#field-iterations", "100000")
    page.locator("summary").click()
    page.select_option("#field-network", "light")
    with page.expect_response(lambda r: r.url.endswith("/preview") and r.status == 200):
        shown.run()
    shown.until("document.getElementById('left').textContent.includes('left')")
    page.click("#stop")
    page.wait_for_selector("#download:visible")
    assert "best so far" in page.locator(".thumb .note").inner_text()
    assert image.read(shown.download()[1]).pixels.shape == (64, 64, 3)


def test_compare(shown):
    original = drawn(96, 128)
    small = safelight.upscale(original, size="32x", method="bicubic")
    page = shown.page
    shown.give(("small.png", "image/png", image.encode(image.Picture(pixels=small), "png")))
    shown.tab("compare")
    while page.locator("#compare .chips [aria-pressed=true]").count():
        page.locator("#compare .chips [aria-pressed=true]").first.click()
    titles = [catalog.find(name, "upscale").title for name in ("bicubic", "lanczos", "fsrcnn")]
    for title in titles:
        page.get_by_role("button", name=title, exact=True).click()
    page.set_input_files(
        "#compare-original",
        [{"name": "o.png", "mimeType": "image/png", "buffer": image.encode(image.Picture(pixels=original), "png")}],
    )
    page.get_by_role("button", name="Compare", exact=True).click()
    shown.until("[...document.querySelectorAll('.grid .facts')].filter(f => f.textContent.includes('dB')).length === 3")
    assert page.locator(".grid figcaption:not(.lens *)").all_inner_texts() == titles
    said = page.locator(".grid .facts").all_inner_texts()
    for text, name in zip(said, ("bicubic", "lanczos", "fsrcnn"), strict=True):
        figure = safelight.score(original, safelight.upscale(small, scale=4, method=name))
        assert f"PSNR {figure:.2f} dB" in text
    # They zoom together.
    page.locator(".grid .frame").first.focus()
    page.keyboard.press("1")
    widths = {box.bounding_box()["width"] for box in page.locator(".grid .layer:first-child img").all()}
    assert len(widths) == 1
    assert widths.pop() == pytest.approx(128, abs=0.5)


def test_about_a_method(shown):
    page = shown.page
    page.select_option("#method", "fsrcnn")
    page.click("text=About this method")
    page.wait_for_selector(".card .plot .here")
    text = page.locator(".card").inner_text()
    for words in ("FSRCNN", "12,809", "ECCV 2016", "Trained on", "t91", "Set5 x4 Y-PSNR", "30.81", "In the paper"):
        assert words in text
    assert page.locator(".card a").get_attribute("href") == catalog.find("fsrcnn", "upscale").paper.link
    for card in catalog.CARDS:  # all of them can be told of
        page.locator(f"[data-method='{card.task}/{card.name}']").click()
        page.wait_for_selector(f".card h2:has-text('{card.title}')")


# --- for everybody ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_usable_at_400_pixels(browser, server, scheme):
    shown = Shown(browser, server.url, viewport={"width": 400, "height": 800}, color_scheme=scheme)
    shown.give(("a.png", "image/png", a_file()))
    shown.run()
    shown.page.wait_for_selector("#download:visible")
    for tab in shown.page.locator("[role=tab]").all():
        tab.click()
        assert tab.evaluate(
            "t => { const b = t.getBoundingClientRect(); return b.left >= 0 && b.right <= innerWidth; }"
        )
        assert shown.page.evaluate("document.documentElement.scrollWidth") == 400
    ground = shown.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(re.findall(r"\d+", ground)[0]) < 128) == (scheme == "dark")
    shown.close()


def test_by_keyboard_alone(shown):
    page = shown.page
    shown.give(("a.png", "image/png", a_file()))  # the system's own dialog chooses it
    page.focus("[role=tab][aria-selected=true]")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-denoise"
    page.keyboard.press("ArrowLeft")
    page.focus("#method")
    page.keyboard.type("Bicubic i")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "run":
            break
    ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert ring == "solid"  # one sees where one is
    page.keyboard.press("Enter")
    page.wait_for_selector("#download:visible")
    assert "upscale/bicubic" in page.locator("#said").inner_text()


def test_every_control_has_a_name(shown):
    shown.give(("a.png", "image/png", a_file()))
    nameless = """[...document.querySelectorAll('button, input:not([hidden]), select, canvas[tabindex]')].filter(e =>
        e.offsetParent !== null && !e.labels?.length && !e.getAttribute('aria-label') && !e.textContent.trim()
    ).map(e => e.outerHTML)"""
    for tab in shown.page.locator("[role=tab]").all():
        tab.click()
        assert shown.page.evaluate(nameless) == []


def test_the_theme_is_kept(shown):
    page = shown.page
    page.click("#theme")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.click("#theme")
    page.reload()
    page.wait_for_selector("[role=tab]")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"


def test_the_token_is_asked_for(browser):
    with running(token="a long token of ours") as server:
        shown = Shown.__new__(Shown)
        context = browser.new_context()
        page = shown.page = context.new_page()
        page.goto(server.url)
        page.wait_for_selector("#sign-in:visible")
        page.fill("#token", "another")
        page.keyboard.press("Enter")
        shown.until("document.getElementById('wrong').textContent !== ''")
        page.fill("#token", "a long token of ours")
        page.keyboard.press("Enter")
        page.wait_for_selector("#method")
        shown.give(("a.png", "image/png", a_file()))
        shown.run()
        page.wait_for_selector("#download:visible")  # its events and its picture came by the cookie
        (cookie,) = context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert "a long token of ours" not in cookie["value"]
        context.close()


def test_the_page_may_load_nothing_foreign(server):
    answer = server.client.get(server.url)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "unsafe" not in policy
    assets = Path(safelight.__file__).parent / "web/assets"
    for asset in assets.glob("*.[jhc][tsp]*"):
        if asset.suffix in (".js", ".html", ".css"):
            found = set(re.findall(r"https?://[^\s\"'`]+", asset.read_text()))
            assert found <= {"http://www.w3.org/2000/svg"}, asset.name


def test_tasks_of_other_shapes(browser, monkeypatch, tmp_path):
    """A throw-away task without a picture shows what it makes, and one that makes bytes offers them."""
    from safelight import tasks
    from test_task_record import NOISE, PACK, PAIR, RAW

    monkeypatch.setattr(tasks, "TASKS", (*tasks.TASKS, PAIR, PACK))
    monkeypatch.setattr(catalog, "CARDS", (*catalog.CARDS, NOISE, RAW))
    with running() as server:
        shown = Shown(browser, server.url)
        try:
            shown.tab("pair")
            shown.page.fill("#other [name=tint]", "1")
            shown.page.click("#other button.primary")
            shown.until("document.querySelectorAll('#other figure img').length === 2")
            shown.until("[...document.querySelectorAll('#other img')].every((image) => image.naturalWidth === 8)")
            shown.tab("pack")
            (tmp_path / "a.png").write_bytes(a_file())
            shown.page.set_input_files("#other-file", tmp_path / "a.png")
            with shown.page.expect_download() as held:
                shown.page.click("#other button.primary")
                shown.page.click("#other figure a")
            assert held.value.suggested_filename == "pack-1.raw"
            assert Path(held.value.path()).read_bytes() == safelight.pack(image.read(a_file()))
            shown.tab("upscale")
            assert shown.page.is_hidden("#other")
        finally:
            shown.close()
