"""The site: built in strict mode without a warning, with all pages and public names, loading nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from code_blocks import ROOT

import magnet
import magnet_kernels

REFERENCE = ROOT / "docs" / "reference"


def public_names() -> list[str]:
    kernels = [f"magnet_kernels.{name}" for name in magnet_kernels.__all__]
    again = set(magnet_kernels.__all__)  # what magnet hands on is on the other page
    return [*kernels, *(f"magnet.{name}" for name in magnet.__all__ if name not in again)]


def test_every_public_name_is_in_the_reference() -> None:
    text = "\n".join(path.read_text() for path in REFERENCE.glob("*.md"))
    shown = re.findall(r"^::: (\S+)$", text, re.MULTILINE)
    assert len(set(shown)) == len(shown)
    assert set(public_names()) - set(shown) == {"magnet_kernels.__version__"}


def test_every_page_is_in_the_navigation() -> None:
    navigation = re.search(r"^nav:\n(.*?)^plugins:", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE | re.DOTALL)
    assert navigation is not None
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert pages | {"index.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"} == set(
        re.findall(r"\S+\.md", navigation[1])
    )


class _Loaded(HTMLParser):
    """What a page loads by itself, what it links to, and the places in it."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids.add(values.get("id", ""))
        if "src" in values or (tag == "link" and values.get("rel") in ("stylesheet", "preload", "icon", "preconnect")):
            self.loaded.append(values.get("src") or values["href"])
        elif tag == "a" and "href" in values:
            self.links.append(values["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for name in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(name, exc_type=ImportError)
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, _Loaded]:
    return {page: _Loaded(page) for page in site.rglob("*.html")}


def test_nothing_is_loaded_from_elsewhere(pages: dict[Path, _Loaded]) -> None:
    assert len(pages) > 20
    for page, parts in pages.items():
        files = [one for one in parts.loaded if not one.startswith("data:")]
        assert files and not [one for one in files if re.match(r"(\w+:)?//", one)], page
        if page.name != "404.html":  # its links begin at the site's root
            assert all((page.parent / one.partition("?")[0]).is_file() for one in files), page


def test_links_lead_somewhere(pages: dict[Path, _Loaded]) -> None:
    """Those that hooks and extensions made, too, which MkDocs does not look at."""
    for page, parts in pages.items():
        for link in parts.links:
            if page.name == "404.html" or re.match(r"\w+:", link):
                continue
            name, _, place = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            assert target.exists(), f"{page.name}: {link}"
            if place and target in pages and not place.startswith("__"):
                assert place in pages[target].ids, f"{page.name}: {link}"


def test_docstrings_are_shown(pages: dict[Path, _Loaded]) -> None:
    ids = {one for page, parts in pages.items() if page.parent.name == "reference" for one in parts.ids}
    assert set(public_names()) - ids == {"magnet_kernels.__version__"}
    assert {"magnet.MagNet.predict", "magnet.MagNet.predict_raster", "magnet.Prediction.labels_in"} <= ids
    text = next(page for page in pages if page.name == "magnet.html").read_text()
    assert ":meth:" not in text and ":class:" not in text
    assert re.search(r'href="[^"]*#magnet\.MagNet\.save_pretrained"[^>]*><code>save_pretrained</code>', text)
