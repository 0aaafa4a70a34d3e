"""The page in a browser: every way of giving it a picture, its answers, and that it asks nobody."""

from __future__ import annotations

import base64
import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import netinnet
from netinnet.data import pictures
from netinnet.export import card, examples, page
from netinnet.inference import model_files
from netinnet.inference.predictor import Predictor
from netinnet.metrics import softmax
from tests.browser import BROWSER, difference
from tests.conftest import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium")
SWITCHES = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=BROWSER, args=SWITCHES)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    picture = Image.fromarray(boot()[..., 0])
    picture.save(path.with_name("boot.png"))
    shown = examples.read([path.with_name("boot.png")], print)
    model = netinnet.load()
    sections = card.card(model).sections
    path.write_text(page.page(model, precision="float32", shown=shown, card=sections))
    return path


@pytest.fixture
def opened(browser: Browser, file: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page, opened from its file; the end of a test proves that nothing went wrong in it."""
    context = browser.new_context(**getattr(request, "param", {}))
    tab, requests, troubles = context.new_page(), [], []
    tab.on("request", lambda r: requests.append(r.url))
    tab.on("console", lambda message: troubles.append(message.text))
    tab.on("pageerror", lambda error: troubles.append(str(error)))
    tab.goto(file.as_uri())
    yield tab
    assert [url for url in requests if not url.startswith(("data:", "blob:"))] == [file.as_uri()]
    assert troubles == []
    context.close()


def boot() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Something like a boot: light on dark."""
    picture = np.zeros((28, 28, 1), np.uint8)
    picture[8:24, 16:25] = picture[18:24, 4:25] = 200
    return picture


def encoded(picture: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def give(tab: Page, content: bytes, name: str = "picture.png") -> None:
    tab.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": content})


def until(tab: Page, condition: str) -> None:
    """Wait for a JavaScript expression. Playwright's own way needs `eval`, which is forbidden."""
    for _ in range(1000):
        if tab.evaluate(condition):
            return
        tab.wait_for_timeout(10)
    raise AssertionError(f"never: {condition}")


def drawn(tab: Page) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """What the stage shows, h×w×3."""
    content = tab.evaluate("canvas.toDataURL('image/png')").split(",")[1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))


def answered(tab: Page) -> dict[str, Any]:
    """The page's state when its answer is there."""
    until(tab, "state.answer && !busy")
    return tab.evaluate(
        "({...state.answer, picture: undefined, maps: Array.from(state.answer.maps),"
        " logits: Array.from(state.answer.logits)})"
    )


def test_a_chosen_file(opened: Page) -> None:
    give(opened, encoded(Image.fromarray(boot()[..., 0])))
    answer, predictor = answered(opened), Predictor(netinnet.load())
    want = predictor.run(boot()[None], ("logits", "probabilities", "class_maps"))
    assert difference(answer["logits"], want["logits"]) < 1e-4
    assert difference(answer["maps"], want["class_maps"]) < 1e-4
    name = predictor.answer(boot()).name
    assert opened.inner_text("#verdict").startswith(name.capitalize())
    assert opened.locator("#bars li").count() == 5
    opened.click("#more")
    assert opened.locator("#bars li").count() == 10
    assert answer["time"]["kernel"] == "WebAssembly"


def test_a_class_that_is_chosen_shows_its_map(opened: Page) -> None:
    give(opened, encoded(Image.fromarray(boot()[..., 0])))
    answer = answered(opened)
    first = drawn(opened)
    second = opened.locator("#bars button").nth(1)
    second.click()
    assert second.get_attribute("aria-pressed") == "true"
    assert np.abs(drawn(opened).astype(int) - first).max() > 20
    k = int(np.argsort(-np.array(answer["logits"]), kind="stable")[1])
    assert f"{answer['logits'][k]:.2f}".rstrip("0") in opened.inner_text("#explained")
    opened.fill("#strength", "0")
    assert np.array_equal(drawn(opened)[..., :1], np.kron(boot(), np.ones((16, 16, 1), np.uint8)))


def test_the_map_is_drawn_as_nin_explain_draws_it(opened: Page) -> None:
    from netinnet.inference import explanation
    from netinnet.reports import overlays

    give(opened, encoded(Image.fromarray(boot()[..., 0])))
    answered(opened)
    opened.fill("#strength", "100")
    explained = explanation.explain(Predictor(netinnet.load()), boot())
    shown, size = explained.classes[0], 448
    axes = zip((explained.rows, explained.columns), shown.values.shape, strict=True)
    down, across = (overlays._interpolation(axis, size, cells) for axis, cells in axes)
    grey = np.kron(boot()[..., 0], np.ones((16, 16), np.uint8))
    want = overlays.colours(down @ shown.values @ across.T, explained.scale, grey)
    assert np.abs(drawn(opened).astype(int) - want).max() <= 1


EVENTS = ("drop", "paste")


def transfer(tab: Page, event: str, *files: tuple[str, str, bytes], text: str = "") -> None:
    """Drop or paste files (name, type, content), or a text."""
    tab.evaluate(
        """([event, files, text]) => {
          const data = new DataTransfer();
          for (const [name, type, bytes] of files)
            data.items.add(new File([Uint8Array.from(bytes)], name, { type }));
          if (text) data.setData("text/plain", text);
          dispatchEvent(event === "drop"
            ? new DragEvent(event, { dataTransfer: data, bubbles: true, cancelable: true })
            : new ClipboardEvent(event, { clipboardData: data, bubbles: true }));
        }""",
        [event, [[name, kind, list(content)] for name, kind, content in files], text],
    )


@pytest.mark.parametrize("event", EVENTS)
def test_a_dropped_and_a_pasted_file(opened: Page, event: str) -> None:
    content = encoded(Image.fromarray(np.full((9, 7, 3), 40, np.uint8)))
    transfer(opened, event, ("p.png", "image/png", content))
    until(opened, "state.picture && state.picture.width === 7")
    answered(opened)
    assert opened.is_hidden("#problem")


@pytest.mark.parametrize("event", EVENTS)
def test_of_several_files_the_first_is_used_and_that_is_said(opened: Page, event: str) -> None:
    wide, narrow = (encoded(Image.fromarray(np.zeros((9, n), np.uint8))) for n in (8, 5))
    transfer(opened, event, ("a.png", "image/png", wide), ("b.png", "image/png", narrow))
    assert answered(opened)
    assert opened.evaluate("state.picture.width") == 8
    assert opened.inner_text("#problem") == "Only the first of 2 files is used."
    transfer(opened, event, ("b.png", "image/png", narrow))
    until(opened, "state.picture.width === 5")
    assert opened.is_hidden("#problem")


@pytest.mark.parametrize("event", EVENTS)
def test_what_is_given_and_is_no_picture_is_said(opened: Page, event: str) -> None:
    transfer(opened, event, text="https://example.org/picture.png")
    assert opened.inner_text("#problem").startswith("That is no picture.")
    transfer(opened, event, ("a.pdf", "application/pdf", b"%PDF"))
    until(opened, "document.getElementById('problem').textContent.includes('“a.pdf” can')")


def test_a_drawing(opened: Page) -> None:
    opened.click("#draw")
    box = opened.locator("#canvas").bounding_box()
    assert box is not None
    opened.mouse.move(box["x"] + 60, box["y"] + 60)
    opened.mouse.down()
    opened.mouse.move(box["x"] + 200, box["y"] + 220, steps=5)
    opened.mouse.up()
    answered(opened)
    ink = "state.picture.getContext('2d').getImageData(0, 0, 280, 280).data.filter(x => x).length"
    assert opened.evaluate(ink) > 280 * 280 + 3000  # all alphas, and some light
    opened.click("#clear")
    assert opened.evaluate(ink) == 280 * 280


def test_the_camera(opened: Page) -> None:
    opened.click("#camera")
    until(opened, "state.answer && state.picture.width > 100")
    opened.evaluate("globalThis.first = state.picture")
    until(opened, "state.picture !== first")
    opened.click("#camera")
    assert opened.get_attribute("#camera", "aria-pressed") == "false"


STREAMS = """() => {
  globalThis.streams = [];
  const devices = navigator.mediaDevices, real = devices.getUserMedia.bind(devices);
  devices.getUserMedia = async (wanted) => {
    const stream = await real(wanted);
    streams.push(stream);
    return stream;
  };
}"""
LIVE = "streams.filter((stream) => stream.getTracks().some((t) => t.readyState === 'live')).length"


def test_the_camera_is_off_when_its_button_says_so(opened: Page) -> None:
    """Whatever is done until it is allowed."""
    opened.evaluate(STREAMS)
    opened.evaluate("for (const _ of [1, 2]) document.getElementById('camera').click()")
    until(opened, "streams.length === 2 && state.answer")
    assert opened.evaluate(LIVE) == 1
    opened.click("#camera")
    assert opened.get_attribute("#camera", "aria-pressed") == "false"
    assert opened.evaluate(LIVE) == 0
    opened.evaluate("document.getElementById('camera').click()")
    opened.click("#draw")
    until(opened, "streams.length === 3")
    opened.wait_for_timeout(100)
    assert opened.get_attribute("#camera", "aria-pressed") == "false"
    assert opened.evaluate(LIVE) == 0
    assert opened.evaluate("state.picture.width") == 280  # the paper


def test_what_is_said_stays_while_the_camera_goes_on(opened: Page) -> None:
    opened.click("#camera")
    until(opened, "state.answer")
    transfer(opened, "drop", text="a text")
    opened.evaluate("globalThis.first = state.picture")
    until(opened, "state.picture !== first")
    assert opened.is_visible("#problem")
    opened.click("#camera")


@pytest.mark.parametrize("opened", [{"locale": "pt-BR"}], indirect=True)
def test_a_camera_that_cannot_be_used(opened: Page) -> None:
    opened.evaluate(
        """() => {
          const refuse = () => Promise.reject(new Error("Permission denied"));
          navigator.mediaDevices.getUserMedia = refuse;
        }"""
    )
    opened.click("#camera")
    until(opened, "!document.getElementById('problem').hidden")
    text = "A câmera não pode ser usada: Permission denied."
    assert opened.inner_text("#problem") == text
    assert opened.inner_text("#problem [lang=en]") == "Permission denied"
    opened.select_option("#language", "en")
    assert opened.inner_text("#problem") == "The camera can't be used: Permission denied."


def test_after_an_error_no_answer_is_awaited_and_the_next_picture_is_answered(opened: Page) -> None:
    opened.evaluate(
        """() => {
          const context = CanvasRenderingContext2D.prototype, real = context.getImageData;
          context.getImageData = function (x, y, width, height) {
            if (width === 90) throw new RangeError("no memory");
            return real.call(this, x, y, width, height);
          };
        }"""
    )
    give(opened, encoded(Image.new("L", (90, 90))))
    until(opened, "!document.getElementById('problem').hidden")
    assert opened.inner_text("#problem") == "The model can't be run here: no memory."
    assert opened.inner_text("#verdict") == ""
    give(opened, encoded(Image.fromarray(boot()[..., 0])))
    assert answered(opened)
    assert opened.is_hidden("#problem")


def test_an_example(opened: Page) -> None:
    opened.click("#examples button")
    assert (
        difference(answered(opened)["logits"], Predictor(netinnet.load()).logits(boot()[None]))
        < 1e-4
    )


def test_what_is_no_picture_is_said(opened: Page) -> None:
    give(opened, b"no picture", "notes.png")
    opened.wait_for_selector("#problem:not([hidden])")
    assert "“notes.png” can't be read as a picture" in opened.inner_text("#problem")
    give(opened, encoded(Image.fromarray(boot()[..., 0])))
    answered(opened)
    assert opened.is_hidden("#problem")


@pytest.mark.parametrize("opened", [{"locale": "pt-BR"}], indirect=True)
def test_in_portuguese(opened: Page) -> None:
    assert opened.inner_text("#choose") == "Escolher uma imagem"
    assert opened.get_attribute("html", "lang") == "pt"
    opened.select_option("#language", "en")
    assert opened.inner_text("#choose") == "Choose a picture"


@pytest.mark.parametrize("opened", [{"locale": "pt-BR"}], indirect=True)
def test_what_stays_english_says_so(opened: Page) -> None:
    assert opened.get_attribute("#network tbody", "lang") == "en"
    assert opened.inner_text("#card summary") == "Sobre este modelo"
    outside = "#card > :not(summary, [lang=en])"
    assert opened.locator("#card > [lang=en] h3").count()
    assert opened.locator(outside).count() == 0


@pytest.mark.parametrize("opened", [{"java_script_enabled": False}], indirect=True)
def test_without_javascript_both_languages_say_that_it_is_needed(opened: Page) -> None:
    lines = opened.locator("noscript p").all_inner_texts()
    assert [line.split(".")[0] for line in lines] == [
        "This page needs JavaScript",
        "Esta página precisa de JavaScript",
    ]
    assert opened.get_attribute("noscript p:nth-child(2)", "lang") == "pt"


def test_by_keyboard_alone(opened: Page) -> None:
    give(opened, encoded(Image.fromarray(boot()[..., 0])))
    answered(opened)
    reached = []
    for _ in range(20):
        opened.keyboard.press("Tab")
        reached.append(
            opened.evaluate("document.activeElement.id || document.activeElement.tagName")
        )
    assert {"language", "choose", "draw", "camera", "more", "strength", "BUTTON"} <= {*reached}
    opened.focus("#bars li:nth-child(2) button")
    opened.keyboard.press("Enter")
    assert opened.get_attribute("#bars li:nth-child(2) button", "aria-pressed") == "true"


SMALL = [
    {"viewport": {"width": 320, "height": 640}},
    {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
]


@pytest.mark.parametrize("opened", SMALL, indirect=True, ids=["320", "390, dark"])
def test_on_a_phone_nothing_is_wider_than_the_screen(opened: Page) -> None:
    give(opened, encoded(Image.fromarray(boot()[..., 0])))
    answered(opened)
    opened.click("#network summary")
    width = opened.viewport_size["width"]  # type: ignore[index]
    assert opened.evaluate("document.documentElement.scrollWidth") == width
    heights = opened.evaluate(
        "[...document.querySelectorAll('button')].map(b => b.getBoundingClientRect().height)"
    )
    assert min(height for height in heights if height) >= 32


def test_every_word_is_there_in_both_languages() -> None:
    blocks = re.findall(r"^  (en|pt): \{(.*?)^  \},", page.text("words.js"), re.M | re.S)
    keys = {name: re.findall(r"^    (\w+):", body, re.M) for name, body in blocks}
    gaps = {name: re.findall(r"\{(\w+)\}", body) for name, body in blocks}
    assert keys["en"] == keys["pt"]
    assert [*map(sorted, gaps.values())] == [sorted(gaps["en"])] * 2
    used = re.findall(r"data-(?:word|label)=\"(\w+)\"", page.text("page.html"))
    assert {*used} <= {*keys["en"]}


def test_the_python_in_the_documentation_writes_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs/first"
    run.mkdir(parents=True)
    shutil.copy(model_files.shipped(), run / "model.safetensors")
    (told,) = re.findall(r"^From Python: `(.*)`\.$", (ROOT / "docs/page.md").read_text(), re.M)
    (example,) = re.findall(r">>> (.*)", str(page.page.__doc__))
    for line in (told, example):
        exec(line, {"netinnet": netinnet, "page": page.page, "Path": Path})  # noqa: S102
        written = tmp_path / "page.html"
        assert "nin-small" in written.read_text("utf-8")
        written.unlink()


def test_size_of_the_shipped_models_page() -> None:
    assert len(page.page(netinnet.load()).encode()) < 400_000


EXACT = ("png-rgb", "png-grey", "png-palette", "png-1", "jpeg-rgb", "jpeg-grey", "jpeg-exif")
EXACT = (*EXACT, "jpeg-subsampled", "webp", "webp-exif", "bmp", "gif")
LEVELS = {**dict.fromkeys(EXACT, 0), "png-alpha": 1, "png-grey-alpha": 1, "png-16": 1}
"""The largest difference between what the browser decodes and what `pictures.read` does."""


def odd_picture(kind: str) -> bytes:
    rng = np.random.default_rng(5)
    smooth = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((83, 61))
    exif = Image.Exif()
    exif[0x0112] = 6
    alpha = Image.fromarray(rng.integers(0, 256, (61, 83), dtype=np.uint8))
    with_alpha = {mode: smooth.convert(mode[:-1]) for mode in ("RGBA", "LA")}
    for picture in with_alpha.values():
        picture.putalpha(alpha)
    make = {
        "png-rgb": lambda: encoded(smooth),
        "png-grey": lambda: encoded(smooth.convert("L")),
        "png-palette": lambda: encoded(smooth.convert("P")),
        "png-1": lambda: encoded(smooth.convert("1")),
        "jpeg-rgb": lambda: encoded(smooth, "JPEG", quality=90, subsampling=0),
        "jpeg-grey": lambda: encoded(smooth.convert("L"), "JPEG"),
        "jpeg-exif": lambda: encoded(smooth, "JPEG", exif=exif),
        "jpeg-subsampled": lambda: encoded(smooth, "JPEG", quality=75, subsampling=2),
        "png-alpha": lambda: encoded(with_alpha["RGBA"]),
        "png-grey-alpha": lambda: encoded(with_alpha["LA"]),
        "png-16": lambda: encoded(
            Image.fromarray(rng.integers(0, 2**16, (61, 83), dtype=np.uint16))
        ),
        "webp": lambda: encoded(smooth, "WEBP", lossless=True),
        "webp-exif": lambda: encoded(smooth, "WEBP", lossless=True, exif=exif),
        "bmp": lambda: encoded(smooth, "BMP"),
        "gif": lambda: encoded(smooth.convert("P"), "GIF"),
    }
    return make[kind]()


@pytest.mark.parametrize("kind", LEVELS)
def test_the_browser_decodes_the_same_pixels(opened: Page, kind: str) -> None:
    content = odd_picture(kind)
    want = pictures.as_channels(pictures.read(content), 3)
    rgba = opened.evaluate(
        """async bytes => {
          const picture = await decoded(new Blob([Uint8Array.from(bytes)]));
          const { width, height } = picture, context = picture.getContext("2d");
          return [height, width, ...context.getImageData(0, 0, width, height).data];
        }""",
        list(content),
    )
    assert tuple(rgba[:2]) == want.shape[:2]
    got = np.array(rgba[2:], int).reshape(*rgba[:2], 4)[..., :3]
    assert np.abs(got - want).max() <= LEVELS[kind]


def test_softmax_is_the_models(opened: Page) -> None:
    logits = np.array([[800.0, 799.0, -5.0]], np.float32)
    got = opened.evaluate("softmax([800, 799, -5], 1)")
    assert np.abs(np.array(got) - softmax(logits)[0]).max() < 1e-6


def test_the_page_and_its_worker_answer_alike(opened: Page) -> None:
    here, there = opened.evaluate(
        """async () => {
          const rgba = Uint8ClampedArray.from({ length: 4 * 40 * 30 }, (_, i) => (i * i) % 256);
          const asks = [asksHere(model), await asksWorker(model)];
          const answers = asks.map((ask) => ask({ rgba, width: 40, height: 30 }));
          return (await Promise.all(answers)).map(({ logits }) => Array.from(logits));
        }"""
    )
    assert len(here) == 10
    assert here == there


def test_a_worker_that_cannot_run_the_model_is_none(opened: Page) -> None:
    assert opened.evaluate("asksWorker({ ...model, kernel: '?' }).then((ask) => ask === null)")


@pytest.mark.parametrize("language", ["en", "pt"])
def test_numbers_are_written_as_the_browser_writes_them(opened: Page, language: str) -> None:
    got, want = opened.evaluate(
        """(chosen) => {
          language = chosen;
          const values = [0, 0.5, 7, -7.25, 999, 1000, -1234567.891, 103882, 0.999, 12.3456, 1e-9];
          const theirs = (x, digits) => x.toLocaleString(chosen, { maximumFractionDigits: digits });
          const share = { style: "percent", maximumFractionDigits: 1 };
          return [
            values.map((x) => [number(x), number(x, 1), number(x, 2), percent(x * x)]),
            values.map((x) => [...[0, 1, 2].map((digits) => theirs(x, digits)),
              (x * x).toLocaleString(chosen, share)]),
          ];
        }""",
        language,
    )
    assert got == want
