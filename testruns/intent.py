"""Does the diff intend a difference? Reads a unified diff's removed and added lines. Pure.

A difference is intended when what was expected stands in a removed line and what is seen in an added one of the
same hunk. A figure that follows from an intended one (the total, when the shipping costs changed) is intended too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

MOST_DIFF = 1_000_000
"""Characters of a diff that are read; what comes after is as if it were not changed."""
MOST_TIMES = 10
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_TESTS_AND_DOCS = re.compile(r"(^|/)(tests?|docs?|__tests__|spec)/|(^|/)test_|\.(md|rst|lock)$|_test\.|\.(test|spec)\.")


@dataclass(frozen=True)
class Hunk:
    file: str
    removed: tuple[str, ...]
    added: tuple[str, ...]


@dataclass(frozen=True)
class Intent:
    """The lines that say that a difference was wanted."""

    file: str
    removed: str
    added: str

    def __str__(self) -> str:
        return f"{self.file} changes “{_short(self.removed)}” to “{_short(self.added)}”"


def hunks(diff: str) -> tuple[Hunk, ...]:
    """Of the application's files: what tests and documents say is not what the application does."""
    found: list[Hunk] = []
    file, removed, added = "", [], []  # type: str, list[str], list[str]

    def close() -> None:
        if (removed or added) and not _TESTS_AND_DOCS.search(file):
            found.append(Hunk(file, tuple(removed), tuple(added)))
        removed.clear()
        added.clear()

    for line in diff[:MOST_DIFF].splitlines():
        if line.startswith(("diff ", "@@", "--- ")):
            close()
        elif line.startswith("+++ "):
            file = line[4:].strip().removeprefix("b/")
        elif line.startswith("-"):
            removed.append(line[1:])
        elif line.startswith("+"):
            added.append(line[1:])
    close()
    return tuple(found)


def intended(expected: str, seen: str, changes: Sequence[Hunk]) -> Intent | None:
    """The change that turns `expected` into `seen`; None when there is none."""
    if not expected.strip() or expected == seen:
        return None
    found = [_replaced(expected, seen, hunk) if seen else _reworded(expected, hunk) for hunk in changes]
    # Many places may say it; the one that is most like what was expected tells a reader most.
    return max(filter(None, found), key=lambda intent: _overlap(expected, intent.removed), default=None)


def _overlap(expected: str, line: str) -> float:
    return SequenceMatcher(None, _tokens(expected), _tokens(line), autojunk=False).ratio()


def derived(expected: str, seen: str, known: Sequence[tuple[str, str]]) -> bool:
    """Whether the figure differs by just what the intended differences (`known`) of the same journey amount to:
    by their sum, or by one of them a few times over (two mugs, each dearer by 1)."""
    difference = _difference(expected, seen)
    if not difference:
        return False
    amounts = [amount for pair in known if (amount := _difference(*pair))]
    candidates = {sum(amounts), *(amount * times for amount in amounts for times in range(1, MOST_TIMES + 1))}
    return any(abs(difference - candidate) < 0.005 for candidate in candidates if candidate)


def _replaced(expected: str, seen: str, hunk: Hunk) -> Intent | None:
    old, new = _differing(expected, seen)
    removed = _line_with(old, hunk.removed)
    added = _line_with(new, hunk.added)
    # Words that were only taken away, or only added, have one side in the diff.
    if (old and not removed) or (new and not added) or not (removed or added):
        return None
    if _is_weak(old) or _is_weak(new):
        words = set(re.findall(r"[a-z]{4,}", expected.lower()))
        around = " ".join((*hunk.removed, *hunk.added, hunk.file)).lower()
        if not any(word in around for word in words):
            return None
    return Intent(hunk.file, removed or (hunk.removed[0] if hunk.removed else ""), added or "")


def _differing(expected: str, seen: str) -> tuple[list[str], list[str]]:
    """The words that only one of them has."""
    one, other = _tokens(expected), _tokens(seen)
    old: list[str] = []
    new: list[str] = []
    for tag, a, b, c, d in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        if tag != "equal":
            old += one[a:b]
            new += other[c:d]
    return old, new


def _tokens(text: str) -> list[str]:
    return [_normal(token) for token in re.findall(r"\d[\d,]*(?:\.\d+)?|[^\W\d_]+", text)]


def _normal(token: str) -> str:
    """`5.00`, `5` and `05` are one number; words lose their case."""
    if _NUMBER.fullmatch(token):
        return f"{float(token.replace(',', '')):g}"
    return token.casefold()


def _line_with(tokens: list[str], lines: Sequence[str]) -> str:
    """The line that has all of them; empty when none has."""
    if not tokens:
        return ""
    return next((line for line in lines if all(_has(token, _tokens(line)) for token in tokens)), "")


def _has(token: str, tokens: Sequence[str]) -> bool:
    """Prices are often kept in cents."""
    return token in tokens or (_NUMBER.fullmatch(token) is not None and f"{float(token) * 100:g}" in tokens)


def _is_weak(tokens: list[str]) -> bool:
    """A lone digit or a very short word is found in nearly every diff."""
    return bool(tokens) and all(len(token) < 2 for token in tokens)


def _reworded(expected: str, hunk: Hunk) -> Intent | None:
    """A removed line that says what was expected, beside an added one that says it differently."""
    wanted = " ".join(_tokens(expected))
    for removed in hunk.removed:
        if wanted not in " ".join(_tokens(removed)):
            continue
        for added in hunk.added:
            alike = SequenceMatcher(None, removed.strip(), added.strip(), autojunk=False).ratio()
            if alike >= 0.6 and wanted not in " ".join(_tokens(added)):
                return Intent(hunk.file, removed, added)
    return None


def _difference(expected: str, seen: str) -> float | None:
    """Of the one figure in each; None when the words differ too, or there is not exactly one differing figure."""
    if _NUMBER.sub("#", expected) != _NUMBER.sub("#", seen):
        return None
    pairs = zip(_NUMBER.findall(expected), _NUMBER.findall(seen), strict=True)
    differing = [float(new.replace(",", "")) - float(old.replace(",", "")) for old, new in pairs if old != new]
    return differing[0] if len(differing) == 1 else None


def _short(line: str) -> str:
    line = " ".join(line.split())
    return line if len(line) <= 90 else line[:89] + "…"
