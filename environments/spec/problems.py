"""What is wrong with a .preview.yaml, and where: the problems, their collector, and the error that carries them."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from environments.errors import UserError

PROBLEM_LIMIT = 50
"""Problems that are reported of one file: more help nobody, and a comment has an end."""


@dataclass(frozen=True)
class SpecProblem:
    line: int
    """From 1."""
    column: int
    """From 1, in characters."""
    path: str
    """Where in the document, e.g. `services.web.env.API_URL` or `dependencies[1].recipe`; empty: all of it."""
    message: str
    """What was found and what is allowed."""
    hint: str = ""
    """The nearest valid word, or the way out."""
    code: str = "spec_invalid"
    filename: str = ".preview.yaml"

    def __str__(self) -> str:
        what = f"{self.path}: {self.message}" if self.path else self.message
        said = f"{what}, {self.hint}" if self.hint else what
        return f"{self.filename}:{self.line}:{self.column}: {said}"


class SpecError(UserError):
    """The .preview.yaml can't be used. `message` has one line for each of `problems`, in the file's order.

    The code is the problems' own where they agree (`recipe_unknown`, `spec_cycle` …), else `spec_invalid`.
    """

    def __init__(self, problems: Iterable[SpecProblem], unreported: int = 0) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.line, problem.column)))
        codes = {problem.code for problem in self.problems}
        lines = [str(problem) for problem in self.problems]
        if unreported:
            lines.append(f"and {unreported} more")
        super().__init__(
            codes.pop() if len(codes) == 1 else "spec_invalid",
            "\n".join(lines),
            "Correct the file and push; `previewkit lint` checks it before.",
        )


class Problems:
    """Collects the problems of one file."""

    def __init__(self, filename: str) -> None:
        self.filename = filename
        self.found: list[SpecProblem] = []
        self.unreported = 0

    def __bool__(self) -> bool:
        return bool(self.found)

    @property
    def full(self) -> bool:
        """Nothing that is added now is reported: no use in looking further."""
        return len(self.found) >= PROBLEM_LIMIT

    def add(
        self,
        at: tuple[int, int],
        path: str,
        message: str,
        hint: str = "",
        *,
        code: str = "spec_invalid",
        word: str | None = None,
        words: Iterable[str] = (),
    ) -> None:
        """`word` was found where one of `words` is allowed: the nearest becomes the hint."""
        if self.full:
            self.unreported += 1
            return
        if word is not None and not hint:
            near = nearest(word, words)
            hint = f'did you mean "{near}"?' if near else ""
        line, column = at
        self.found.append(
            SpecProblem(line, column, one_line(path), one_line(message), one_line(hint), code, self.filename)
        )

    def raise_if_any(self) -> None:
        if self.found:
            raise SpecError(self.found, self.unreported)


def one_line(text: str) -> str:
    """Text for a terminal, a log and a comment: keys of a file may hold line ends and worse."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The one of `words` that was probably meant, if any."""
    if len(word) > 64:  # difflib is quadratic, and nobody misspells a word at that length
        return None
    close = difflib.get_close_matches(word.lower(), list(words), n=1, cutoff=0.6)
    return close[0] if close else None


def shown(found: object) -> str:
    """A value as an error names it: short, on one line, without control characters."""
    if found is None:
        return "nothing"
    if isinstance(found, bool):
        return "true" if found else "false"
    if isinstance(found, dict):
        return "a mapping"
    if isinstance(found, list | tuple):
        return "a list"
    if isinstance(found, str):
        short = found if len(found) <= 60 else found[:59] + "…"
        return json.dumps(short, ensure_ascii=not short.isprintable())
    written = str(getattr(found, "written", found))
    return written if len(written) <= 60 else written[:59] + "…"


def listed(words: Iterable[str]) -> str:
    """Words as an error lists them: as many as a person looks through."""
    every = list(words)
    if not every:
        return "none"
    return ", ".join(every[:20]) + (f" and {len(every) - 20} more" if len(every) > 20 else "")
