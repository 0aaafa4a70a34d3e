"""MkDocs' hook: the root's pages join the site, and links out of docs/ lead to the repository.

Links in the Markdown files are relative to the file, as a forge reads them. Here each is resolved
in the source tree: a page of the site stays a relative link, any other file becomes its address in
the repository. A link to nothing is left as it is, so that MkDocs warns of it. The chapter folds
its code (<details>) and names a framework behind the language of a block; Python-Markdown
understands neither as it stands.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "CODE_OF_CONDUCT.md": "code-of-conduct.md",
}
"""Pages outside docs/, and what they are called on the site."""
LINK = re.compile(r"(\]\()([^)\s#:]+)([^)\s:]*\))")
"""A relative link of Markdown: what stands before its path, the path, its anchor and end."""


def linked(markdown: str, source: str, repository: str) -> str:
    """The text with its links made for the site; `source` is its path from the root."""
    here = posixpath.dirname(_place(source))

    def target(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[2]))
        if not (ROOT / path).exists():
            return link[0]
        place = _place(path)
        on_site = path in PAGES or path.startswith("docs/")
        shown = (
            posixpath.relpath(place, here or ".") if on_site else f"{repository}/blob/main/{path}"
        )
        return f"{link[1]}{shown}{link[3]}"

    return LINK.sub(target, markdown)


def _place(path: str) -> str:
    """Where a file of the source tree lies on the site."""
    return PAGES.get(path, path.removeprefix("docs/"))


def on_files(files: Any, config: Any) -> Any:
    """Add the root's pages."""
    from mkdocs.structure.files import File

    for source, place in PAGES.items():
        text = (ROOT / source).read_text("utf-8")
        files.append(
            File.generated(config, place, content=linked(text, source, config.extra["repository"]))
        )
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Make the links of a page in docs/; the root's pages have theirs already."""
    place = page.file.src_uri
    if place in PAGES.values():
        return markdown
    markdown = re.sub(r"^<details", "<details markdown", markdown, flags=re.MULTILINE)
    markdown = re.sub(r"^(```\w+) \w+$", r"\1", markdown, flags=re.MULTILINE)
    return linked(markdown, f"docs/{place}", config.extra["repository"])
