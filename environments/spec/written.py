"""The shape of a .preview.yaml, key by key, as a person writes it: short forms, units, what each value may be.

These models check the shape of a file and are what the JSON Schema is made from, so that an editor and
PreviewKit never disagree. What they read becomes `models` in parsing.py.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from environments.names import SERVICE_LIMIT
from environments.spec import values as v

SERVICES_LIMIT = 200
"""Services of one file; the walk through their graph needs a bound."""


class Written(BaseModel):
    """Only the keys that are in the file are read of it (`model_fields_set`): defaults belong to `models`."""

    model_config = ConfigDict(extra="forbid")


def _optional(description: str) -> Any:
    # A factory, so that the schema shows no default and null stays forbidden.
    return Field(default_factory=lambda: None, description=description)


def _choose(allowed: str, choose: Any) -> Discriminator:
    """Which form a value has, by its type alone; `allowed` is what an error says when it has none."""
    return Discriminator(
        choose,
        custom_error_type="no_form",
        custom_error_message="no form",
        custom_error_context={"allowed": allowed},
    )


def _text_or_list(value: Any) -> str | None:
    return "<list>" if isinstance(value, list) else "<text>" if isinstance(value, str) else None


def _text_or_off(value: Any) -> str | None:
    return "<off>" if value is False else "<text>" if isinstance(value, str) else None


def _word_or_form(value: Any) -> str | None:
    return "<form>" if isinstance(value, dict) else "<word>" if isinstance(value, str) else None


def _build_form(value: Any) -> str | None:
    if isinstance(value, dict):
        return "<image>" if "image" in value else "<dockerfile>"
    return "<word>" if isinstance(value, str) else None


class DockerfileForm(Written):
    dockerfile: v.Path = Field(description="The Dockerfile, within `path`.")
    target: v.Word = _optional("The stage to build.")
    args: dict[v.VariableName, v.Text] = _optional("Build arguments.")


class ImageForm(Written):
    image: v.Image = Field(description="A ready image; nothing is built.")


WrittenBuild = Annotated[
    Annotated[v.BuildWord, Tag("<word>")]
    | Annotated[DockerfileForm, Tag("<dockerfile>")]
    | Annotated[ImageForm, Tag("<image>")],
    _choose("railpack, dockerfile, {dockerfile: path} or {image: reference}", _build_form),
]
Command = Annotated[
    Annotated[v.Line, Tag("<text>")] | Annotated[Annotated[list[v.Text], Field(min_length=1)], Tag("<list>")],
    _choose("a command line, or a list of a program and its arguments", _text_or_list),
]
JobCommand = Annotated[
    Annotated[v.Line, Tag("<text>")] | Annotated[v.Off, Tag("<off>")],
    _choose("a command line, or false for none", _text_or_off),
]


class WrittenHealth(Written):
    path: v.UrlPath = _optional("Ready when this path answers below 400; without it, when the port accepts.")
    timeout: v.ReadyTimeout = _optional("From start to ready.")


class WrittenResources(Written):
    cpu: v.Cpu = _optional("The limit of a replica, in cores.")
    memory: v.Memory = _optional("The limit of a replica.")


class WrittenService(Written):
    build: WrittenBuild = _optional("How it becomes runnable.")
    path: v.Path = _optional("The directory that is built, default `.`.")
    port: v.Port = _optional("Where it listens, also given as PORT. Without one it is a worker.")
    public: v.Flag = _optional("Whether it gets an HTTPS address.")
    command: Command = _optional("How it starts; found from the code unless stated.")
    env: dict[v.VariableName, v.Text] = _optional("Variables; `{{…}}` is filled in.")
    secrets: list[v.VariableName] = _optional("Names of variables whose values are kept in PreviewKit.")
    depends_on: list[v.ServiceName] = _optional("Services that start before this one.")
    health: WrittenHealth = _optional("When it is ready.")
    resources: WrittenResources = _optional("Its limits.")
    replicas: v.Replicas = _optional("How many run at once.")
    migrate: JobCommand = _optional("Once per deployment, before the service starts; found unless stated.")
    seed: JobCommand = _optional("Once per fresh database.")


class DependencyForm(Written):
    recipe: v.RecipeName = Field(description="What it is.")
    version: v.Version = _optional("Its version.")
    name: v.DependencyName = _optional("What references call it, default: the recipe.")
    options: v.Options = _optional("The recipe's own options.")


WrittenDependency = Annotated[
    Annotated[v.ShortDependency, Tag("<word>")] | Annotated[DependencyForm, Tag("<form>")],
    _choose("a recipe such as postgres@15, or {recipe: postgres, version: …}", _word_or_form),
]


class WrittenPreviews(Written):
    drafts: v.Flag = _optional("Whether draft pull requests get previews.")
    forks: v.Forks = _optional("Whether pull requests of forks get previews.")
    sleep_after: v.Span = _optional("Without visitors for so long, a preview sleeps.")
    expire_after: v.Span = _optional("Without changes for so long, a preview is deleted.")


class WrittenTests(Written):
    enabled: v.Flag = _optional("Whether the browser tests run.")
    start: v.UrlPath = _optional("Where a visit begins.")
    scenarios: list[v.Path] = _optional("Files of scenarios that people wrote; may hold * and **.")


class WrittenSpec(Written):
    """The file that describes a preview environment."""

    version: v.FormatVersion = _optional("The version of this format.")
    services: dict[v.ServiceName, WrittenService] = Field(
        min_length=1,
        max_length=SERVICES_LIMIT,
        description=f"By name: at most {SERVICE_LIMIT} lower-case letters, digits, dashes.",
    )
    dependencies: list[WrittenDependency] = _optional("Databases and the like that each preview gets its own of.")
    isolation: v.Isolation = _optional("How previews are kept apart.")
    previews: WrittenPreviews = _optional("Which pull requests get previews, and for how long.")
    tests: WrittenTests = _optional("The browser tests.")


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the file, for editors. What names refer to, only PreviewKit itself can check."""
    schema = _tidy(WrittenSpec.model_json_schema())
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": ".preview.yaml", **schema}


def _tidy(schema: Any) -> Any:
    """Without pydantic's titles, and with keys of mappings held to their pattern as the models hold them."""
    if isinstance(schema, list):
        return [_tidy(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    tidy = {key: _tidy(each) for key, each in schema.items() if key != "title" or not isinstance(each, str)}
    return {**tidy, "additionalProperties": False} if "patternProperties" in tidy else tidy
