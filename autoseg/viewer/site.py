"""What stands under which name on the page's server: the page itself, NiiVue, the cases and their layers.

Names are looked up in tables. Nothing in a request ever becomes part of a path.
"""

import json
import threading
import traceback
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import Any

from autoseg.colours import CONFUSED, INVENTED, MISSED
from autoseg.errors import AutosegError
from autoseg.viewer.cases import Collection
from autoseg.viewer.opened import OpenCase, open_case
from autoseg.viewer.scores import ScoreBoard
from autoseg.viewer.server import Answer

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
JSON = "application/json"
VOLUME = "application/octet-stream"
START = "index.html"
NIIVUE = "niivue.js"
KEPT_OPEN = 3
"""Cases whose label maps stay in memory: the one on the page, and its neighbours."""

DIFFERENCES = (("only predicted", INVENTED), ("missed", MISSED), ("other label", CONFUSED))
"""The three ways to differ, in the order of `classes.difference`."""


@dataclass(eq=False)
class Site:
    """Answers by name; called from many threads."""

    collection: Collection
    scores: ScoreBoard
    niivue: Path
    _pages: Mapping[str, Answer] = field(init=False)
    _open: "OrderedDict[int, OpenCase]" = field(init=False, default_factory=OrderedDict)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        pages = {
            entry.name: Answer(MEDIA_TYPES[Path(entry.name).suffix], [entry.read_bytes()])
            for entry in (files("autoseg.viewer") / "page").iterdir()
            if Path(entry.name).suffix in MEDIA_TYPES
        }
        pages[NIIVUE] = Answer(MEDIA_TYPES[".js"], [self.niivue.read_bytes()])
        self._pages = pages | {"": pages[START]}

    def __call__(self, name: str) -> Answer | None:
        """The answer for a name, None for an unknown one; what goes wrong becomes an answer that says so."""
        try:
            return self._found(name)
        except AutosegError as error:
            return _said(str(error), HTTPStatus.UNPROCESSABLE_ENTITY)
        except Exception as error:  # a request must not end the server, and its sender must learn of it
            traceback.print_exc()
            return _said(f"this is a fault of autoseg: {error!r}", HTTPStatus.INTERNAL_SERVER_ERROR)

    def _found(self, name: str) -> Answer | None:
        if name in self._pages:
            return self._pages[name]
        if name == "cases":
            return _json(self._cases())
        if name == "scores":
            return _json(self.scores.described())
        match name.split("/"):
            case ["case", number] if (index := self._index(number)) is not None:
                return _json(self._case(index).described())
            case ["case", number, "layer", layer] if (index := self._index(number)) is not None:
                opened = self._case(index)
                known = any(one.id == layer for one in opened.layers)
                return Answer(VOLUME, opened.content(layer)) if known else None
        return None

    def _index(self, number: str) -> int | None:
        is_plain = number.isdecimal() and len(number) <= 9
        return int(number) if is_plain and int(number) < len(self.collection.cases) else None

    def _cases(self) -> dict[str, Any]:
        report = self.collection.report
        review = {} if report is None else report.review
        return {
            "title": self.collection.title,
            "notes": list(self.collection.notes),
            "cases": [{"id": case.id, "review": list(review.get(case.id, ()))} for case in self.collection.cases],
            "differences": [{"name": name, "colour": colour} for name, colour in DIFFERENCES],
        }

    def _case(self, index: int) -> OpenCase:
        with self._lock:
            if index not in self._open:
                case = self.collection.cases[index]
                opened = open_case(case, scheme=self.collection.scheme, channels=self.collection.channels)
                self._open[index] = opened
                while len(self._open) > KEPT_OPEN:
                    self._open.popitem(last=False)
            self._open.move_to_end(index)
            return self._open[index]


def _json(value: Any) -> Answer:
    return Answer(JSON, [json.dumps(value, allow_nan=False).encode()])


def _said(message: str, status: HTTPStatus) -> Answer:
    return Answer(JSON, [json.dumps({"error": message}).encode()], status)
