"""The pages of ``magnet eval`` and ``magnet predict --report``: what they hold, and that nothing else is needed."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import Browser, find_browser, start_browser
from PIL import Image
from seeded import seed_module
from tiny_data import tiny_folder

from magnet import MagNet, build_segmenter
from magnet.cli.main import main
from magnet.cli.predict_report import summary_of, write_page
from magnet.files.outputs import Outputs
from magnet.images.draw import Window
from magnet.pages.page import Card, Page, Section, Table, render
from magnet.pages.pictures import SIDE, views_of

EVIL = "<script>alert(1)</script>"
EVIL_FILE = "<script>alert('2')<img src=x onerror=alert(3)>.png"
COLOURS = [(0, 0, 200), (200, 200, 0), (0, 90, 0)]


class Read(HTMLParser):
    """The tags of a page with their attributes, the texts of its cells and headings, and its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside != "style" and data.strip():
            self.texts.append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def check_by_itself(text: str) -> Read:
    """That a page needs nothing else, runs nothing but its own script, and can be used without seeing it."""
    page = Read(text)
    (script,) = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv"))
    assert policy == (f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'")
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "base", "a"), tag
        assert not [name for name in attributes if name.startswith("on") or name in ("href", "srcset", "action")]
        assert attributes.get("src", "data:image/").startswith("data:image/")
    assert not re.search(r"https?:|url\(|@import", text)
    assert all(image["alt"] for image in page.all("img"))
    for slider in page.all("input"):
        assert slider["type"] == "range" and (slider.get("aria-label") or slider.get("id") == "strength")
    return page


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_names_are_text_whatever_they_hold() -> None:
    view = views_of(np.zeros((8, 8, 3), np.uint8), {"coarse": np.zeros((8, 8), np.uint8)}, COLOURS, None)
    page = Page(EVIL, [EVIL, "a\u202eb\x1b[0m"], [(EVIL, (1, 2, 3))])
    page.tables = [Table(EVIL, ["class", EVIL], [[EVIL, EVIL]], [(1, 2, 3)], EVIL)]
    page.sections = [Section(EVIL, EVIL, [Card('" onmouseover="alert(1)', EVIL, view, [(EVIL, EVIL)])])]
    found = check_by_itself(render(page))
    assert found.texts.count(EVIL) >= 10
    assert 'coarse of " onmouseover="alert(1)' in [image["alt"] for image in found.all("img")]
    assert "a\\u202eb\\x1b[0m" in found.texts  # nothing turns the text round, or speaks to a terminal


def test_pictures_are_small_whatever_they_show() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (900, 1400, 3), dtype=np.uint8)
    labels = rng.integers(0, 3, (900, 1400), dtype=np.uint8)
    whole, part = views_of(noise, {"coarse": labels}, COLOURS, Window(100, 200, 420, 520))
    assert (whole.width, whole.height, part.width, part.height) == (1400, 900, 320, 320)
    for view, share in ((whole, 1), (part, 2)):
        for layer, most in zip(view.layers, (80 << 10, 24 << 10), strict=True):
            picture = decoded(layer.uri)
            assert len(layer.uri) < most * 4 / 3 / share + 100
            assert max(picture.size) <= SIDE
            assert picture.width / picture.height == pytest.approx(view.width / view.height, rel=0.03)


def test_pictures_are_of_the_image_and_its_labels() -> None:
    image = np.full((50, 900, 3), (10, 120, 230), np.uint8)
    labels = np.repeat([0, 1, 2, 255], 225)[None].repeat(50, 0).astype(np.uint8)
    whole, part = views_of(image, {"labels": labels}, COLOURS, Window(400, 0, 500, 50))
    shown = np.asarray(decoded(whole.layers[1].uri).convert("RGBA"))
    assert [tuple(shown[10, x]) for x in (80, 240, 400)] == [(*colour, 255) for colour in COLOURS]
    assert shown[10, 560, 3] == 0  # ignored: the image is seen
    assert np.abs(np.asarray(decoded(whole.layers[0].uri)).astype(int) - (10, 120, 230)).max() < 4
    at = np.asarray(decoded(part.layers[1].uri).convert("RGB"))
    assert at.shape == (50, 100, 3) and tuple(at[0, 49]) == COLOURS[1] and tuple(at[0, 50]) == COLOURS[2]
    assert views_of(image[:, :600], {"labels": labels[:, :600]}, COLOURS, Window(0, 0, 50, 50))[1:] == []  # not shrunk


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two classes, data, an evaluation of them in ev/, and two images predicted into pr/."""
    folder = tmp_path_factory.mktemp("reports")
    torch.manual_seed(0)
    model = MagNet(
        seed_module(build_segmenter("compact", 2), "ids0."),
        None,
        scales=[(32, 48), (64, 96)],
        patch_size=(32, 48),
        n_points=0.5,
        class_names=["ground", EVIL],
        colours=[(1, 2, 3), (200, 100, 50)],
    )
    model.save_pretrained(folder / "model")
    data = tiny_folder(folder / "data", counts=(1, 1, 3))
    (data / "classes.txt").write_text(f"0 ground\n1 {EVIL}\n255 ignore\n")
    words = ["--model", str(folder / "model"), "--modes", "coarse,magnet", "--data", str(data)]
    assert main(["eval", *words, "--out", str(folder / "ev")]) == 0
    images = folder / "images"
    images.mkdir()
    (data / "images" / "p0.jpg").rename(images / "a.jpg")
    Image.open(data / "images" / "p1.jpg").save(images / EVIL_FILE)
    assert (
        main(["predict", str(images), "--model", str(folder / "model"), "--out", str(folder / "pr"), "--report"]) == 0
    )
    return folder


def test_the_page_of_an_evaluation_has_its_figures(results: Path) -> None:
    page = check_by_itself((results / "ev" / "report.html").read_text())
    content = json.loads((results / "ev" / "metrics.json").read_text())
    for mode in ("coarse", "magnet"):
        assert f"{content['results'][mode]['mean_iou']:.2f}" in page.texts
        assert f"{content['results'][mode]['iou'][EVIL]:.2f}" in page.texts
    matrix = np.array(content["confusion"]["magnet"], float)
    shares = 100 * matrix / matrix.sum(axis=1, keepdims=True)
    assert all(f"{share:.1f}" in page.texts for share in shares.ravel() if share >= 0.05)
    gain = content["results"]["magnet"]["iou"]["ground"] - content["results"]["coarse"]["iou"]["ground"]
    assert f"{gain:+.2f}" in page.texts
    for record in content["per_image"]:
        assert record["name"] in page.texts and f"{record['gain']:+.2f}" in page.texts
    names = [image["alt"].partition(" of ")[0] for image in page.all("img")]
    assert names == ["image", "coarse", "refined", "labels"] * 3
    assert any("of 3 images" in text for text in page.texts)


def test_the_page_of_a_prediction_has_the_shares_of_its_labels(results: Path) -> None:
    page = check_by_itself((results / "pr" / "report.html").read_text())
    counts = np.zeros(2)
    for name in ("a", Path(EVIL_FILE).stem):
        with Image.open(results / "pr" / f"{name}_labels.png") as labels:
            own = np.bincount(np.asarray(labels).ravel(), minlength=2)
        counts += own
        assert all(f"{share:.2f}" in page.texts for share in 100 * own / own.sum())
    assert all(f"{share:.2f}" in page.texts for share in 100 * counts / counts.sum())
    assert page.texts.count(EVIL_FILE) == 2 and page.texts.count("a.jpg") == 2
    assert "2 of 2 images, those whose pixels refinement changed most" in page.texts


def test_a_page_is_of_the_whole_job_however_many_runs_it_took(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", str(results / "images"), "--model", str(results / "model"), "--out", str(tmp_path), "--report"]
    for part in ("1/2", "2/2"):
        assert main([*words, "--part", part]) == 0
        assert not (tmp_path / "report.html").exists()
    capsys.readouterr()
    assert main(words) == 0
    assert "2 done before, 0 to do" in capsys.readouterr().out
    assert (tmp_path / "report.html").read_text() == (results / "pr" / "report.html").read_text()
    (results / "images" / "b.png").write_bytes(b"no image")
    try:
        assert main(words) == 1
    finally:
        (results / "images" / "b.png").unlink()
    page = check_by_itself((tmp_path / "report.html").read_text())
    assert any(one.startswith("1 of 3 inputs are not among them (named below)") for one in page.texts)
    assert page.texts.index("Not on this page") < page.texts.index("b.png")
    (tmp_path / "report.html").write_text("mine")
    capsys.readouterr()
    assert main(words) == 1
    assert "report.html' is there already" in capsys.readouterr().err
    assert (tmp_path / "report.html").read_text() == "mine"


def test_a_page_of_many_images_is_bounded_and_says_so(tmp_path: Path) -> None:
    image, coarse = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)
    rng = np.random.default_rng(0)
    changed, files = [], {}
    for number in range(520):
        refined = np.uint8(rng.random((8, 8)) < rng.random())
        changed.append(int(refined.sum()))
        files[f"i{number}"] = tmp_path / f"{number}.json"
        files[f"i{number}"].write_text(json.dumps(summary_of(image, coarse, refined, COLOURS[:2], None)))
    with Outputs(tmp_path / "out", "magnet predict") as outputs:
        text = write_page(outputs, "it", "tiny", files, ["x", "y", "z"]).read_text()
    page = check_by_itself(text)
    assert "24 of 520 images, those whose pixels refinement changed most" in page.texts
    assert any("500 of 520 images, those that changed most." in one for one in page.texts)
    assert any(one.startswith("3 of 523 inputs are not among them") for one in page.texts)
    most = sorted(range(520), key=lambda k: (-changed[k], k))[:24]
    shown = [image["alt"] for image in page.all("img") if image["alt"].startswith("image of")]
    assert shown == [f"image of i{number}" for number in most]
    assert sum(one in files for one in page.texts) == 524
    assert len(text) < 1 << 20


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = find_browser()
    if program is None:
        pytest.skip("no browser: apt-get install chromium, or set MAGNET_BROWSER")
    with start_browser(program) as started:
        yield started


HEAD = "table.sortable:has(.swatch) th:nth-child({}) button"
FIRST = "[...document.querySelector('table.sortable:has(.swatch)').tBodies[0].rows].map(r => r.cells[{}].textContent)"
CLIPS = "[...document.querySelector('.view').querySelectorAll('figure')].map(f => f.style.clipPath)"


def test_a_click_on_a_heading_sorts(results: Path, browser: Browser) -> None:
    browser.open(results / "ev" / "report.html")
    shares = [float(text) for text in browser.value(FIRST.format(1))]
    browser.click(HEAD.format(2))
    assert [float(text) for text in browser.value(FIRST.format(1))] == sorted(shares, reverse=True)
    browser.click(HEAD.format(2))
    assert [float(text) for text in browser.value(FIRST.format(1))] == sorted(shares)
    assert browser.value(f"document.querySelector({HEAD.format(2)!r}).parentNode.ariaSort") == "ascending"
    browser.click(HEAD.format(1))
    assert browser.value(FIRST.format(0)) == [EVIL, "ground"]
    browser.press("Enter")  # it has the focus: a keyboard does the same
    assert browser.value(FIRST.format(0)) == ["ground", EVIL]


def test_sliders_and_stops_lead_from_layer_to_layer(results: Path, browser: Browser) -> None:
    browser.open(results / "ev" / "report.html")
    slider = "document.querySelector('.view input')"
    assert browser.value(CLIPS) == ["", "inset(0px 0% 0px 50%)", "inset(0px 50% 0px 0%)", "inset(0px 100% 0px 0%)"]
    browser.click(".view button:nth-child(4)")
    assert browser.value(CLIPS)[3] == "inset(0px 0%)" and browser.value(f"{slider}.value") == "300"
    assert browser.value("document.querySelector('.view button:nth-child(4)').ariaPressed") == "true"
    browser.value(f"{slider}.focus()")
    browser.press("ArrowLeft")
    assert browser.value(CLIPS)[2:] == ["inset(0px 0% 0px 95%)", "inset(0px 5% 0px 0%)"]
    assert browser.value(f"{slider}.ariaValueText") == "labels 95%, then refined"
    browser.press("Home")
    assert browser.value(CLIPS)[1] == "inset(0px 100% 0px 0%)"  # the image alone
    browser.value("document.querySelector('#strength').focus()")
    browser.press("End")
    assert browser.value("getComputedStyle(document.querySelector('.view figure + figure')).opacity") == "1"


@pytest.mark.parametrize("name", ["ev", "pr"])
def test_nothing_is_asked_for_and_nothing_runs_that_a_name_holds(results: Path, browser: Browser, name: str) -> None:
    browser.open(results / name / "report.html")
    assert browser.value("document.images.length") > 3
    assert browser.value("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert browser.asked_for() == [] and browser.complaints() == []
    assert browser.value("document.scripts.length") == 1
    assert browser.value("document.body.textContent").count(EVIL) >= 2
    wide = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    assert browser.value(wide)


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_in_light_and_dark(results: Path, browser: Browser, dark: bool) -> None:
    browser.open(results / "ev" / "report.html", dark=dark)

    def brightness(selector: str, what: str) -> float:
        text = browser.value(f"getComputedStyle(document.querySelector({selector!r})).{what}")
        return sum(float(part) for part in re.findall(r"[\d.]+", text)[:3]) / 765

    paper = brightness("body", "backgroundColor")
    assert (paper < 0.15) if dark else (paper > 0.95)
    for selector in ("h1", "td", "th button", ".stops button", "figcaption"):
        assert abs(brightness(selector, "color") - paper) > 0.6, selector


def test_all_is_there_without_javascript(results: Path, browser: Browser) -> None:
    browser.open(results / "ev" / "report.html", script=False)
    assert not browser.value("document.documentElement.classList.contains('scripted')")
    boxes = browser.value(
        "[...document.querySelectorAll('.view')].map(v => [...v.querySelectorAll('img')].map(i => {"
        "const b = i.getBoundingClientRect(); return [b.x, b.y, b.width, b.height] }))"
    )
    for view in boxes:  # side by side, none on another
        assert len({(x, y) for x, y, _, _ in view}) == 4 and min(width for *_, width, _ in view) > 50
    assert browser.value("getComputedStyle(document.querySelector('figcaption')).display") != "none"
    assert browser.value("document.querySelector('.controls').offsetHeight") == 0
    assert browser.value("document.querySelector('td').offsetHeight") > 0
