"""The single values of a .preview.yaml: how each is written, what is allowed, and what it becomes.

A value is read and put into the JSON Schema by the same object, from the same pattern.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic_core import PydanticCustomError, core_schema

from environments.names import SERVICE_LIMIT, slug
from environments.spec.problems import listed, nearest, shown
from environments.spec.references import RECIPES, RESERVED


class Refused(Exception):
    """The value is not allowed; with a better hint or code than usual."""

    def __init__(self, hint: str = "", code: str = "spec_invalid", allowed: str = "") -> None:
        super().__init__(hint)
        self.hint = hint
        self.code = code
        self.allowed = allowed


class Leaf:
    """Annotates a field: `take` returns what a written value means, or raises Refused."""

    def __init__(self, allowed: str, schema: Mapping[str, Any], take: Callable[[Any], Any]) -> None:
        self.allowed = allowed
        self.schema = schema
        self.take = take

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return dict(self.schema)

    def _check(self, value: Any) -> Any:
        try:
            return self.take(value)
        except Refused as refused:
            hint, allowed = refused.hint, refused.allowed or self.allowed
            if value is None and not hint:
                hint = "remove the key, or give it a value"
            context = {"found": shown(value), "allowed": allowed, "hint": hint, "code": refused.code}
            raise PydanticCustomError("leaf", "not allowed", context) from None


# ── kinds of values ─────────────────────────────────────────────────────────────────────────


def _text(value: Any) -> str:
    """Numbers are taken as they are written, true and false as these words."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(getattr(value, "written", value))
    raise Refused()


def _pattern(
    pattern: str,
    allowed: str,
    *,
    becomes: Callable[[str], Any] = str,
    hint: Callable[[Any], str] = lambda value: "",
    numbers: bool = False,
    **schema: Any,
) -> Leaf:
    """Text that fits a pattern (one that reads the same in Python and in JSON Schema's ECMA-262)."""
    fits = re.compile(pattern.removeprefix("^").removesuffix("$"))

    def take(value: Any) -> Any:
        number = numbers and isinstance(value, int | float) and not isinstance(value, bool)
        if not (isinstance(value, str) or number) or not fits.fullmatch(_text(value)):
            raise Refused(hint(value))
        return becomes(_text(value))

    kind: Any = ["string", "number"] if numbers else "string"
    return Leaf(allowed, {"type": kind, "pattern": pattern, **schema}, take)


def _one_of(*words: str, allowed: str = "", code: str = "spec_invalid") -> Leaf:
    def take(value: Any) -> Any:
        if isinstance(value, str) and value in words:
            return value
        raise Refused(_did_you_mean(nearest(value, words) if isinstance(value, str) else None), code)

    return Leaf(allowed or listed(words), {"type": "string", "enum": list(words)}, take)


def _whole(low: int, high: int) -> Leaf:
    def take(value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return int(value)
        quoted = isinstance(value, str) and value.isascii() and value.isdigit()
        raise Refused("write it without quotes" if quoted else "")

    return Leaf(f"a whole number from {low} to {high}", {"type": "integer", "minimum": low, "maximum": high}, take)


def _did_you_mean(word: str | None) -> str:
    return f'did you mean "{word}"?' if word else ""


def _flag(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    meant = {"yes": "true", "on": "true", "true": "true", "no": "false", "off": "false", "false": "false"}
    raise Refused(f"did you mean {meant[value.lower()]}?" if str(value).lower() in meant else "")


# ── durations, cores, bytes ─────────────────────────────────────────────────────────────────

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {"Ki": 1024, "Mi": 1024**2, "Gi": 1024**3, "k": 1000, "M": 1000**2, "G": 1000**3}
_DURATION = r"(0|[1-9][0-9]{0,6})(s|m|h|d)"


def _seconds(written: str) -> float:
    return float(int(written[:-1]) * _SECONDS[written[-1]])


def _duration_hint(value: Any) -> str:
    """`2 minutes`, `30min` and a bare number are what people write first."""
    said = re.fullmatch(r"([1-9][0-9]{0,6})\s*([smhd]?)[a-z]{0,9}", str(value).lower()[:20])
    return _did_you_mean(f"{said[1]}{said[2] or 's'}") if said else ""


def _duration(low: str, high: str, *, never: bool = False) -> Leaf:
    allowed = f"a duration such as {'30m' if never else '120s'} (units s, m, h, d) from {low} to {high}"
    pattern = _pattern(f"^({_DURATION}|never)$" if never else f"^{_DURATION}$", "", becomes=str, hint=_duration_hint)

    def take(value: Any) -> Any:
        written = pattern.take(value)
        if written == "never":
            return None
        if not _seconds(low) <= _seconds(written) <= _seconds(high):
            raise Refused()
        return _seconds(written)

    return Leaf(allowed + (", or never" if never else ""), pattern.schema, take)


def _cores(value: Any) -> Any:
    written = _CPU_PATTERN.take(value)
    cores = int(written[:-1]) / 1000 if written.endswith("m") else float(written)
    if not 0 < cores <= 64:
        raise Refused()
    return cores


def _memory_hint(value: Any) -> str:
    said = re.fullmatch(r"([1-9][0-9]{0,8})\s*([kmg]?)i?b?", str(value).lower()[:20])
    return _did_you_mean(f"{said[1]}{(said[2] or 'm').upper().replace('K', 'Ki').removesuffix('i')}i") if said else ""


def _bytes(value: Any) -> Any:
    written = _MEMORY_PATTERN.take(value)
    number, unit = re.findall(r"[0-9]+|[A-Za-z]+", written)
    size = int(number) * _BYTES[unit]
    if not 16 * 1024**2 <= size <= 256 * 1024**3:
        raise Refused()
    return size


_CPU_PATTERN = _pattern(r"^([1-9][0-9]{0,5}m|[0-9]{1,3}(\.[0-9]{1,3})?)$", "", numbers=True)
_MEMORY_PATTERN = _pattern(r"^[1-9][0-9]{0,8}(Ki|Mi|Gi|k|M|G)$", "", hint=_memory_hint)


# ── names and recipes ───────────────────────────────────────────────────────────────────────

_NAME = rf"[a-z]([a-z0-9-]{{0,{SERVICE_LIMIT - 2}}}[a-z0-9])?"
_NAME_ALLOWED = f"lower-case letters, digits and dashes, a letter first, at most {SERVICE_LIMIT} characters"
_VERSION = r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,31}"


def _name_hint(value: Any) -> str:
    near = slug(value, SERVICE_LIMIT) if isinstance(value, str) else ""
    return _did_you_mean(near) if re.fullmatch(_NAME, near) and near != "x" else ""


def _dependency_name(value: Any) -> Any:
    if value in RESERVED:
        raise Refused("these words mean something else in references", allowed=f"a name other than {listed(RESERVED)}")
    return _NAME_PATTERN.take(value)


_NAME_PATTERN = _pattern(f"^{_NAME}$", _NAME_ALLOWED, hint=_name_hint)


def _short_dependency(value: Any) -> Any:
    said = re.fullmatch(rf"([a-z-]+)(?:@({_VERSION}))?", value) if isinstance(value, str) else None
    if said and said[1] in RECIPES:
        return {"recipe": said[1]} | ({"version": said[2]} if said[2] else {})
    # `postgres:15` and `postgres 15` are what people write first.
    recipe, _, version = re.sub(r"[@:=\s]+", "@", str(value)[:80].strip()).partition("@")
    near = nearest(recipe, RECIPES)
    hint = _did_you_mean(near and f"{near}@{version}" if re.fullmatch(_VERSION, version) else near)
    raise Refused(hint, "spec_invalid" if recipe in RECIPES else "recipe_unknown")


def native(value: Any) -> Any:
    """A value of the document as plain Python, which JSON can hold."""
    if isinstance(value, dict):
        return {key: native(each) for key, each in value.items()}
    if isinstance(value, list):
        return [native(each) for each in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    return float(value) if isinstance(value, float) else value


def _options(value: Any) -> Any:
    if not isinstance(value, dict):
        raise Refused()
    return native(value)


def _off(value: Any) -> Any:
    if value is not False:
        raise Refused()
    return False


def _format_version(value: Any) -> Any:
    if isinstance(value, bool) or value != 1:
        raise Refused("did you mean 1?" if value == "1" else "")
    return 1


# ── the values ──────────────────────────────────────────────────────────────────────────────

Text = Annotated[
    str,
    Leaf("text, a number, true or false", {"type": ["string", "number", "boolean"]}, _text),
]
Line = Annotated[str, _pattern(r"^[\s\S]*\S[\s\S]*$", "a command line")]
Word = Annotated[str, _pattern(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$", "a word of letters, digits, _ . -")]
Flag = Annotated[bool, Leaf("true or false", {"type": "boolean"}, _flag)]
Off = Annotated[Literal[False], Leaf("false", {"const": False}, _off)]
FormatVersion = Annotated[Literal[1], Leaf("1, the only version so far", {"const": 1}, _format_version)]

Path = Annotated[
    str,
    _pattern(
        r"^(?!/)(?!(.*/)?\.\.(/|$))[^\\\u0000-\u001f\u007f]{1,512}$",
        "a path within the repository (relative, without ..)",
        becomes=lambda written: PurePosixPath(written).as_posix(),
    ),
]
UrlPath = Annotated[
    str, _pattern(r"^/(?!/)[^\s\\\u0000-\u001f\u007f]{0,2000}$", "a path that begins with one /, without spaces")
]
Image = Annotated[str, _pattern(r"^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}$", "a reference such as ghcr.io/acme/shop:1.4")]
VariableName = Annotated[
    str, _pattern(r"^[A-Za-z_][A-Za-z0-9_]{0,127}$", "a variable's name (letters, digits, _; no digit first)")
]
ServiceName = Annotated[str, _NAME_PATTERN]
DependencyName = Annotated[
    str, Leaf(_NAME_ALLOWED, {**_NAME_PATTERN.schema, "not": {"enum": list(RESERVED)}}, _dependency_name)
]

Port = Annotated[int, _whole(1, 65535)]
Replicas = Annotated[int, _whole(1, 20)]
ReadyTimeout = Annotated[float, _duration("1s", "1h")]
Span = Annotated[float | None, _duration("1m", "365d", never=True)]
Cpu = Annotated[
    float,
    Leaf(
        "cores such as 500m or 1.5, at most 64",
        {**_CPU_PATTERN.schema, "exclusiveMinimum": 0, "maximum": 64},
        _cores,
    ),
]
Memory = Annotated[
    int,
    Leaf("bytes with a unit such as 512Mi or 2Gi, from 16Mi to 256Gi", _MEMORY_PATTERN.schema, _bytes),
]

BuildWord = Annotated[
    str,
    _one_of("railpack", "dockerfile", allowed="railpack, dockerfile, {dockerfile: path} or {image: reference}"),
]
RecipeName = Annotated[str, _one_of(*RECIPES, code="recipe_unknown")]
Version = Annotated[str, _pattern(f"^{_VERSION}$", "a version such as 15 or 1.2", numbers=True, minimum=0)]
ShortDependency = Annotated[
    dict[str, str],
    Leaf(
        f"one of {listed(RECIPES)}, with @version where it matters",
        {"type": "string", "pattern": f"^({'|'.join(RECIPES)})(@{_VERSION})?$"},
        _short_dependency,
    ),
]
Options = Annotated[dict[str, Any], Leaf("a mapping", {"type": "object"}, _options)]
Forks = Annotated[str, _one_of("ask", "never", "always")]
Isolation = Annotated[str, _one_of("namespace", "routing")]
