""".preview.yaml: parse, validate with line numbers, resolve references.

Imports no Django. What is parsed is immutable; the rest of the code only reads these classes.

The way of a file: `documents` (text → located values, bounded) → `written` (shape of each key, also the
JSON Schema) → `checks` (names, references, order) → `parsing` (→ `models`). All problems are reported at once.
"""

from environments.spec.models import (
    Build,
    Dependency,
    Health,
    Previews,
    Resources,
    Service,
    Spec,
    Tests,
    describe,
    spec_hash,
)
from environments.spec.parsing import FILENAME, lint_file, load, parse
from environments.spec.problems import SpecError, SpecProblem
from environments.spec.references import RECIPE_FIELDS, RECIPES, Reference, references, resolve
from environments.spec.written import json_schema

__all__ = [
    "FILENAME",
    "RECIPES",
    "RECIPE_FIELDS",
    "Build",
    "Dependency",
    "Health",
    "Previews",
    "Reference",
    "Resources",
    "Service",
    "Spec",
    "SpecError",
    "SpecProblem",
    "Tests",
    "describe",
    "json_schema",
    "lint_file",
    "load",
    "parse",
    "references",
    "resolve",
    "spec_hash",
]
