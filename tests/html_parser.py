"""Reads a page for the tests, and checks that its tags close in order."""

from __future__ import annotations

import html.parser


class Parser(html.parser.HTMLParser):
    """Collects tags, attributes and text."""

    VOID = ("meta", "img", "link", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, attribute: str) -> list[str]:
        """What the attributes of a name say, in order."""
        return [value or "" for name, value in self.attributes if name == attribute]


def parse(page: str) -> Parser:
    parser = Parser()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser
