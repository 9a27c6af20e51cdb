"""A hook of MkDocs: the site also has the pages at the repository's root, and the files that pages link to.

README.md becomes the first page. On the site docs/ is the root, so links lose their ``docs/`` or their ``../``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

_ROOT = Path(__file__).resolve().parent.parent
_PAGES = {"README.md": "index.md"} | {name: name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")}
_LINK = re.compile(r"(?<=\]\()(?P<target>[^)#:]+)(?=[)#])")  # the file that a link of Markdown names


def on_files(files: Files, config: Any) -> Files:
    """Add the root's pages, and what is linked to."""
    linked = set()
    for page in files.documentation_pages():
        up = _out_of_docs(page)
        targets = {match["target"] for match in _LINK.finditer(page.content_string)}
        linked |= {target.removeprefix(up) for target in targets if target.startswith(up)}
    for name, uri in _PAGES.items():
        text = (_ROOT / name).read_text(encoding="utf-8")
        linked |= {match["target"] for match in _LINK.finditer(text)}
        files.append(File.generated(config, uri, content=_LINK.sub(lambda match: _on_site(match["target"]), text)))
    for name in sorted(linked):
        if files.get_file_from_path(_on_site(name)) is None and (_ROOT / name).is_file():
            files.append(File.generated(config, _on_site(name), abs_src_path=str(_ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links of a page out of docs/, which is a folder less far on the site."""
    if page.file.src_uri in _PAGES.values():
        return markdown
    up = _out_of_docs(page.file)

    def moved(match: re.Match[str]) -> str:
        target = match["target"]
        return up.removeprefix("../") + _on_site(target.removeprefix(up)) if target.startswith(up) else target

    return _LINK.sub(moved, markdown)


def _out_of_docs(page: File) -> str:
    """What leads from a page of docs/ to the repository's root."""
    return "../" * (page.src_uri.count("/") + 1)


def _on_site(name: str) -> str:
    """Where a file of the repository lies, given from its root."""
    return _PAGES.get(name, name.removeprefix("docs/"))
