"""YAML text → values that know their line and column, within bounds of size, depth and number.

The YAML library only cuts the text into events; the tree is built here, because it has to be bounded before it
is built: aliases count as often as they are used, so no text of a few lines becomes gigabytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
)

from environments.spec.problems import Problems, shown

SIZE_LIMIT = 256 * 1024
"""Bytes of a file."""
DEPTH_LIMIT = 20
"""Collections within collections; what means something is at most eight deep."""
VALUE_LIMIT = 10_000
"""Values in a file, aliases counted as often as they are used."""
CHARACTER_LIMIT = 1024 * 1024
"""Characters of all values, aliases counted as often as they are used."""

At = tuple[int, int]
"""Line and column, from 1."""


class WrittenInt(int):
    """A whole number that remembers how it was written: `0x10` and `16` are different texts."""

    written: str


class WrittenFloat(float):
    """A number that remembers how it was written: `1.10` is not `1.1` when it is a version."""

    written: str


@dataclass(slots=True)
class Node:
    at: At
    value: Any
    """str, bool, None, WrittenInt, WrittenFloat, list[Node] or dict[str, Entry]."""
    values: int = 1
    """How many values it is, itself included."""
    characters: int = 0

    def plain(self) -> Any:
        """The value without its places, as pydantic reads it."""
        if isinstance(self.value, dict):
            return {key: entry.node.plain() for key, entry in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def get(self, key: str) -> Node | None:
        entry = self.value.get(key) if isinstance(self.value, dict) else None
        return entry.node if entry else None

    def entries(self) -> dict[str, Entry]:
        """Its entries; none where it is no mapping."""
        return self.value if isinstance(self.value, dict) else {}

    def items(self) -> list[Node]:
        """Its items; none where it is no list."""
        return self.value if isinstance(self.value, list) else []


@dataclass(slots=True)
class Entry:
    at: At
    """Where the key is."""
    node: Node


@dataclass(slots=True)
class _Open:
    """A collection whose end has not been read yet."""

    node: Node
    anchor: str | None
    key: tuple[str, At] | None = None
    """The key whose value comes next."""
    ignored: int = 0
    """Numbers the keys whose entries are read but not kept: duplicates and keys that are no words."""


class _Unreadable(Exception):
    """Reading can't go on; the problem has been added."""


def read(text: str | bytes, problems: Problems) -> Node | None:
    """The document's tree; None where there is none to look at further, with the reason in `problems`."""
    try:
        return _Reader(problems).read(_decoded(text, problems))
    except _Unreadable:
        return None


def _decoded(text: str | bytes, problems: Problems) -> str:
    if len(text) > SIZE_LIMIT:
        problems.add((1, 1), "", f"found a file of {len(text):,} bytes, allowed: at most {SIZE_LIMIT:,}")
        raise _Unreadable
    if isinstance(text, bytes):
        text = _from_utf8(text, problems)
    text = text.removeprefix("\ufeff")
    # What YAML 1.2 (§5.1) allows in a stream; the library would name an offset instead of a line.
    odd = re.search("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)
    if odd:
        at = _end_of(text[: odd.start()])
        problems.add(at, "", f"found the control character U+{ord(odd[0]):04X}, allowed: printable text")
        raise _Unreadable
    return text


def _from_utf8(raw: bytes, problems: Problems) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        at = _end_of(raw[: error.start].decode("utf-8"))
        problems.add(at, "", f"found the byte 0x{raw[error.start]:02x}, allowed: text in UTF-8")
        raise _Unreadable from None


def _end_of(text: str) -> At:
    lines = re.split(r"\r\n|\r|\n", text)
    return len(lines), len(lines[-1]) + 1


class _Reader:
    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.open: list[_Open] = []
        self.anchors: dict[str, Node] = {}
        self.root: Node | None = None
        self.values = 0
        self.characters = 0
        self.documents = 0

    def read(self, text: str) -> Node | None:
        try:
            for event in _events(text):
                self._take(event)
        except MarkedYAMLError as error:
            self._syntax(text, error)
        except (YAMLError, ValueError, OverflowError, IndexError, TypeError, AttributeError, AssertionError) as error:
            # The library leaks these for malformed escapes and directives: the file's fault all the same.
            at = self.open[-1].node.at if self.open else (1, 1)
            self._stop(at, f"found something that is not YAML after here ({type(error).__name__})")
        if self.root is None or (self.root.value is None and not self.problems):
            self._stop((1, 1), "found an empty file, allowed: a mapping with `services`", "the smallest has six lines")
        return self.root

    def _take(self, event: Event) -> None:
        if isinstance(event, DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                self._stop(_at(event), "found a second document, allowed: one", "remove the `---` and what follows")
        elif isinstance(event, CollectionEndEvent):
            self._close()
        elif isinstance(event, NodeEvent):
            self._begin(event)

    def _begin(self, event: NodeEvent) -> None:
        at = _at(event)
        if isinstance(event, AliasEvent):
            self._put(self._alias(event.anchor, at))
            return
        self._check_tag(event, at)
        if isinstance(event, CollectionStartEvent):
            if len(self.open) >= DEPTH_LIMIT:
                self._stop(at, f"found more than {DEPTH_LIMIT} levels of nesting, allowed: {DEPTH_LIMIT}")
            self._count(at, 1, 0)
            node = Node(at, {} if isinstance(event, MappingStartEvent) else [])
            self.open.append(_Open(node, event.anchor))
            if event.anchor:
                self.anchors.pop(event.anchor, None)
        elif isinstance(event, ScalarEvent):
            plain = event.implicit[0] and event.style is None
            self._check_text(event.value, at)
            self._count(at, 1, len(event.value))
            node = Node(at, resolved(event.value) if plain else event.value, 1, len(event.value))
            if event.anchor:
                self.anchors[event.anchor] = node
            self._put(node, event.value)

    def _alias(self, anchor: str, at: At) -> Node:
        target = self.anchors.get(anchor)
        if target is None:
            within = any(container.anchor == anchor for container in self.open)
            self._stop(
                at,
                f"found the alias *{shown(anchor)[1:-1]} "
                + ("inside of what it stands for" if within else "without its anchor"),
                "" if within else f"write &{shown(anchor)[1:-1]} before the value that it stands for",
            )
        self._count(at, target.values, target.characters)
        return Node(at, target.value, target.values, target.characters)

    def _close(self) -> None:
        closed = self.open.pop()
        if closed.anchor:
            self.anchors[closed.anchor] = closed.node
        self._put(closed.node)

    def _put(self, node: Node, written: str | None = None) -> None:
        """Into the innermost open collection; `written` is the text of a scalar, as it serves for a key."""
        if not self.open:
            self.root = node
            return
        container = self.open[-1]
        container.node.values += node.values
        container.node.characters += node.characters
        if isinstance(container.node.value, list):
            container.node.value.append(node)
        elif container.key is None:
            container.key = (self._key(container, node, written), node.at)
        else:
            key, at = container.key
            container.key = None
            if not key.startswith("\0"):
                container.node.value[key] = Entry(at, node)

    def _key(self, container: _Open, node: Node, written: str | None) -> str:
        key = written if written is not None else node.value
        if not isinstance(key, str) or node.value is None:
            self.problems.add(node.at, "", f"found {shown(node.value)} as a key, allowed: a word")
        elif key in container.node.value:
            line = container.node.value[key].at[0]
            self.problems.add(node.at, "", f"found {shown(key)} again, allowed: once", f"it is on line {line} too")
        else:
            return key
        container.ignored += 1
        return f"\0{container.ignored}"

    def _count(self, at: At, values: int, characters: int) -> None:
        self.values += values
        self.characters += characters
        if self.values > VALUE_LIMIT:
            self._stop(at, f"found more than {VALUE_LIMIT:,} values (aliases counted), allowed: {VALUE_LIMIT:,}")
        if self.characters > CHARACTER_LIMIT:
            self._stop(at, f"found more than {CHARACTER_LIMIT:,} characters (aliases counted), allowed: so many")

    def _check_tag(self, event: NodeEvent, at: At) -> None:
        tag = getattr(event, "tag", None)
        if tag not in (None, "!", "tag:yaml.org,2002:str"):
            self.problems.add(at, "", f"found the tag {shown(str(tag))}, allowed: values without a tag")

    def _check_text(self, text: str, at: At) -> None:
        # Escapes can make what the stream itself may not hold; neither the system nor a database takes them.
        odd = re.search("[\0\ud800-\udfff]", text)
        if odd:
            self._stop(at, f"found the escape of U+{ord(odd[0]):04X}, allowed: any other character")

    def _syntax(self, text: str, error: MarkedYAMLError) -> None:
        mark = error.problem_mark or error.context_mark
        at = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        lines = text.splitlines()
        line = lines[at[0] - 1] if at[0] <= len(lines) else ""
        indent = line[: len(line) - len(line.lstrip())]
        if "\t" in indent or line[at[1] - 1 : at[1]] == "\t":
            self._stop((at[0], line.index("\t") + 1), "found a tab, allowed: spaces", "replace it by spaces")
        context = f" {error.context}" if error.context else ""
        if context and error.context_mark and error.context_mark.line + 1 != at[0]:
            context += f" that begins on line {error.context_mark.line + 1}"
        said = re.sub(r"\s+", " ", f"{error.problem or 'found something else'}{context}")
        self._stop(at, f"not YAML: {said[:200]}", _way_out(said))

    def _stop(self, at: At, message: str, hint: str = "") -> NoReturn:
        self.problems.add(at, "", message, hint)
        raise _Unreadable


def _events(text: str) -> Iterator[Event]:
    yield from YAML(typ="safe", pure=True).parse(text)


def _at(event: Event) -> At:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _way_out(said: str) -> str:
    if "mapping values are not allowed" in said:
        return 'check the indentation, and put a value with ": " into quotes'
    if "could not find expected ':'" in said:
        return 'a key is followed by ": "'
    if "block end" in said:
        return "check the indentation of this line and of those above"
    if "flow" in said or "quoted" in said:
        return "check that each bracket and quote is closed"
    return ""


_INT = re.compile(r"[-+]?[0-9]{1,300}|0o[0-7]{1,300}|0x[0-9a-fA-F]{1,300}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,300}|[0-9]{1,300}(\.[0-9]{0,300})?)([eE][-+]?[0-9]{1,3})?")


def resolved(text: str) -> Any:
    """A plain scalar's value by YAML 1.2's core schema (§10.3.2): `yes`, `on` and dates are text.

    So are `.inf`, `.nan` and numbers of more than 300 digits, which nothing here takes as a number.
    """
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    number: WrittenInt | WrittenFloat
    if _INT.fullmatch(text):
        number = WrittenInt(text, 0) if text[:2] in ("0x", "0o") else WrittenInt(text)
    elif _FLOAT.fullmatch(text) and abs(float(text)) != float("inf"):
        number = WrittenFloat(text)
    else:
        return text
    number.written = text
    return number
