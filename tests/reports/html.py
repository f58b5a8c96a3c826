"""A strict little reader of HTML for the tests: tags must balance, and what a page holds can be asked for."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from dermfuse.reports.pages.run_page import render
from dermfuse.reports.runfolder import read_run

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Parse `text`, noting elements, ids, the text of the body, and every tag that does not balance."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict]] = []
        self.faults: list[str] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.faults += [f"<{tag}> is never closed" for tag in self._open]

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if len({name for name, _ in attributes}) != len(attributes):
            self.faults.append(f"<{tag}> at {self.getpos()} repeats an attribute")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()} closes something else")

    def handle_data(self, data):
        if "style" not in self._open:
            self.words.append(data)

    @property
    def text(self) -> str:
        """What a reader sees, blanks collapsed."""
        return " ".join(" ".join(self.words).split())

    def all(self, *tags: str) -> list[dict]:
        """Return the attributes of every element of these names."""
        return [attributes for tag, attributes in self.elements if tag in tags]

    def values(self, *names: str) -> list[str]:
        """Return every value of these attributes."""
        return [value for _, found in self.elements for name, value in found.items() if name in names]


def text_of(run: Path, with_images: bool = False) -> str:
    """What a reader sees of the page of a run folder."""
    return Page(render(read_run(run), with_images)).text
