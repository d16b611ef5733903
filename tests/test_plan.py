"""plan() recognises what a service is from its files alone, and says why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from environments.builders.plan import Plan, StaticSite, plan
from environments.ports import UserError
from environments.spec import Service
from tests.builds import PNPM_LOCK, YARN_BERRY_LOCK, YARN_LOCK, Tree, package_json

HOST = "${HOST:-0.0.0.0}"
DJANGO: Tree = {"manage.py": "", "shop/settings.py": "", "shop/wsgi.py": "", "shop/asgi.py": ""}
FASTAPI = "from fastapi import FastAPI\n\napp = FastAPI(title='x')\n"
FLASK = "from flask import Flask\n\napplication = Flask(__name__)\n"
FLASK_FACTORY = "def create_app():\n    return Flask(__name__)\n"
GO_MAIN = "package main\n\nfunc main() {}\n"


def node(**more: object) -> str:
    return json.dumps({"name": "demo", "version": "1.0.0"} | more)


def planned(root: Path, tree: Tree, *, name: str = "web", port: int | None = 3000, **service: object) -> Plan:
    for file, text in tree.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text)
    return plan(root, Service.model_validate({"name": name, "port": port} | service))


def installs(found: Plan) -> list[str]:
    return [step.title for step in found.install]


# ── which tool installs the packages ────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("tree", "language", "tool", "first_step", "layered"),
    [
        ({"requirements.txt": "six\n"}, "python", "uv", "uv pip install -r requirements.txt", True),
        ({"requirements.txt": "-e .\n"}, "python", "uv", "uv pip install -r requirements.txt", False),
        ({"requirements.txt": "lib @ file:lib\n"}, "python", "uv", "uv pip install -r requirements.txt", False),
        (
            {"requirements/production.txt": "-r base.txt\n", "requirements/base.txt": "six\n"},
            "python",
            "uv",
            "uv pip install -r requirements/production.txt",
            True,
        ),
        (
            {"pyproject.toml": '[project]\nname = "x"\ndependencies = ["six"]\n'},
            "python",
            "uv",
            "uv pip install -r pyproject.toml",
            True,
        ),
        (
            {"pyproject.toml": '[project]\nname = "x"\ndynamic = ["dependencies"]\n'},
            "python",
            "uv",
            "uv pip install .",
            False,
        ),
        (
            {"pyproject.toml": '[project]\nname = "x"\n', "uv.lock": ""},
            "python",
            "uv",
            "uv sync --frozen --no-dev --no-install-project",
            True,
        ),
        (
            {"pyproject.toml": '[project]\nname="x"\n[tool.uv.sources]\nlib = {path = "lib"}\n', "uv.lock": ""},
            "python",
            "uv",
            "uv sync --frozen --no-dev --no-install-project",
            False,
        ),
        ({"setup.py": ""}, "python", "uv", "uv pip install .", False),
        ({"package.json": node(), "package-lock.json": "{}"}, "node", "npm", "npm ci --include=dev", True),
        ({"package.json": package_json()}, "node", "npm", "npm install --include=dev --no-package-lock", True),
        (
            {"package.json": package_json(), "pnpm-lock.yaml": PNPM_LOCK},
            "node",
            "pnpm",
            "pnpm install --frozen-lockfile",
            True,
        ),
        (
            {"package.json": package_json(), "yarn.lock": YARN_LOCK},
            "node",
            "yarn",
            "yarn install --frozen-lockfile",
            True,
        ),
        (
            {"package.json": package_json(), "yarn.lock": YARN_BERRY_LOCK},
            "node",
            "yarn",
            "yarn install --immutable",
            True,
        ),
        (
            {"package.json": package_json(scripts={"postinstall": "node x"}), "package-lock.json": "{}"},
            "node",
            "npm",
            "npm ci --include=dev",
            False,
        ),
        (
            {"package.json": node(workspaces=["packages/*"]), "package-lock.json": "{}"},
            "node",
            "npm",
            "npm ci --include=dev",
            False,
        ),
        ({"go.mod": "module x\n", "go.sum": "", "main.go": GO_MAIN}, "go", "go", "go mod download", False),
    ],
)
def test_the_package_tool_is_told_from_manifests_and_lock_files(
    tmp_path: Path, tree: Tree, language: str, tool: str, first_step: str, layered: bool
) -> None:
    found = planned(tmp_path, tree)

    assert (found.language, found.tool, found.layered) == (language, tool, layered)
    assert installs(found)[0].startswith(first_step)
    assert found.why


def test_poetry_and_pipenv_locks_are_exported_and_installed_by_uv(tmp_path: Path) -> None:
    poetry = planned(tmp_path / "a", {"pyproject.toml": '[tool.poetry]\nname = "x"\n', "poetry.lock": ""})
    pipenv = planned(tmp_path / "b", {"Pipfile": '[packages]\nsix = "*"\n', "Pipfile.lock": "{}"})

    assert (poetry.tool, pipenv.tool) == ("poetry", "pipenv")
    for found in (poetry, pipenv):
        assert installs(found)[1] == "uv pip install -r .previewkit.requirements.txt"
        assert found.notes == () or "lock" not in found.notes[0]


@pytest.mark.parametrize(
    ("tree", "package"),
    [
        ({"package.json": node(packageManager="pnpm@9.1.0")}, "pnpm@9.1.0"),
        ({"package.json": node(packageManager="pnpm@9.1.0"), "yarn.lock": YARN_LOCK}, "pnpm@9.1.0"),
        ({"package.json": node(packageManager="yarn@4.5.0+sha512.abc")}, "@yarnpkg/cli-dist@4.5.0"),
        ({"package.json": node(packageManager="yarn@1.22.19")}, "yarn@1.22.19"),
        ({"package.json": node(), "pnpm-lock.yaml": "lockfileVersion: '6.0'\n"}, "pnpm@8.15.9"),
        ({"package.json": node(), "package-lock.json": "{}"}, None),
        (
            {
                "package.json": node(),
                "yarn.lock": YARN_BERRY_LOCK,
                ".yarnrc.yml": "yarnPath: .yarn/releases/yarn-4.5.0.cjs\n",
                ".yarn/releases/yarn-4.5.0.cjs": "",
            },
            None,
        ),
    ],
)
def test_the_version_of_the_package_tool_is_the_projects(tmp_path: Path, tree: Tree, package: str | None) -> None:
    assert planned(tmp_path, tree).tool_package == package


def test_the_layer_is_keyed_by_manifests_alone(tmp_path: Path) -> None:
    python = planned(
        tmp_path / "a", {"requirements.txt": "-r more.txt\n-c pins.txt\n", "more.txt": "", "pins.txt": "", "x.py": ""}
    )
    node_files = {"package.json": node(), "package-lock.json": "{}", ".npmrc": "", "server.js": ""}

    assert python.layer_files == ("more.txt", "pins.txt", "requirements.txt")
    assert planned(tmp_path / "b", node_files).layer_files == (".npmrc", "package-lock.json", "package.json")


@pytest.mark.parametrize(
    ("tree", "versions"),
    [
        ({"requirements.txt": "", ".python-version": "3.12.1\n"}, {"python": "3.12.1"}),
        ({"requirements.txt": "", "runtime.txt": "python-3.11.4\n"}, {"python": "3.11.4"}),
        ({"pyproject.toml": '[project]\nname = "x"\nrequires-python = ">=3.12"\n'}, {"python": ">=3.12"}),
        (
            {"pyproject.toml": '[tool.poetry.dependencies]\npython = "^3.11"\n', "poetry.lock": ""},
            {"python": ">=3.11,<4"},
        ),
        ({"Pipfile": '[requires]\npython_version = "3.11"\n'}, {"python": "3.11"}),
        ({"package.json": node(engines={"node": ">=20"}), ".nvmrc": "18"}, {"node": ">=20"}),
        ({"package.json": node(), ".nvmrc": "v22.1.0\n"}, {"node": "22.1.0"}),
        ({"go.mod": "module x\n\ngo 1.22\n", "main.go": GO_MAIN}, {"go": "1.22"}),
    ],
)
def test_wanted_versions_are_found(tmp_path: Path, tree: Tree, versions: dict[str, str]) -> None:
    assert planned(tmp_path, tree).versions == versions


# ── how it is started ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("tree", "command"),
    [
        (DJANGO | {"requirements.txt": "django\ngunicorn\n"}, f"gunicorn shop.wsgi:application --bind {HOST}:$PORT"),
        (
            DJANGO | {"requirements.txt": "django\nuvicorn[standard]\n"},
            f"uvicorn shop.asgi:application --host {HOST} --port $PORT",
        ),
        (
            DJANGO | {"requirements.txt": "django\nchannels\ndaphne\ngunicorn\n"},
            f"daphne -b {HOST} -p $PORT shop.asgi:application",
        ),
        (DJANGO | {"requirements.txt": "django\n"}, f"python manage.py runserver {HOST}:$PORT --noreload"),
        (
            {"requirements.txt": "fastapi\nuvicorn\n", "app/main.py": FASTAPI},
            f"uvicorn app.main:app --host {HOST} --port $PORT",
        ),
        (
            {"pyproject.toml": '[project]\nname="x"\ndependencies=["fastapi[standard]"]\n', "main.py": FASTAPI},
            f"uvicorn main:app --host {HOST} --port $PORT",
        ),
        (
            {"requirements.txt": "flask\n", "app.py": FLASK},
            f"flask --app app:application run --host {HOST} --port $PORT",
        ),
        (
            {"requirements.txt": "Flask==3\ngunicorn\n", "app.py": FLASK},
            f"gunicorn app:application --bind {HOST}:$PORT",
        ),
        (
            {"requirements.txt": "flask\ngunicorn\n", "shop/__init__.py": FLASK_FACTORY},
            f"gunicorn 'shop:create_app()' --bind {HOST}:$PORT",
        ),
        ({"requirements.txt": "six\n", "main.py": ""}, ("python", "main.py")),
        ({"app.py": "print(1)"}, ("python", "app.py")),
        ({"requirements.txt": "six\n"}, None),
        ({"package.json": node(scripts={"start": "node server.js --x 'a b'"})}, ("node", "server.js", "--x", "a b")),
        ({"package.json": node(scripts={"start": "NODE_ENV=x node a.js && b"})}, "NODE_ENV=x node a.js && b"),
        ({"package.json": node(scripts={"start": "node x", "prestart": "y"})}, ("npm", "run", "start")),
        ({"package.json": node(main="lib/x.js"), "lib/x.js": ""}, ("node", "lib/x.js")),
        ({"package.json": node(), "index.js": ""}, ("node", "index.js")),
        ({"package.json": node(dependencies={"next": "15"}, scripts={"build": "next build"})}, ("next", "start")),
        ({"package.json": node()}, None),
        ({"go.mod": "module x\n", "main.go": GO_MAIN}, ("./bin/app",)),
        ({"index.html": "", "Procfile": "web: ./serve\n"}, "./serve"),
        ({"requirements.txt": "", "main.py": "", "Procfile": "web: python other.py\r\n"}, "python other.py"),
    ],
)
def test_the_start_command_is_found(tmp_path: Path, tree: Tree, command: object) -> None:
    found = planned(tmp_path, tree)

    assert (found.start.command if found.start else None) == command
    assert found.start is None or found.start.because


@pytest.mark.parametrize(
    ("tree", "command"),
    [
        ({"requirements.txt": "", "main.py": "", "Procfile": "web: a\nworker: b\n"}, "b"),
        ({"requirements.txt": "", "main.py": "", "Procfile": "web: a\nworker: b\njobs: c\n"}, "c"),
        (
            {"requirements.txt": "celery\n", "shop/celery.py": "", "main.py": ""},
            ("celery", "-A", "shop", "worker", "-l", "info"),
        ),
        ({"requirements.txt": "", "worker.py": "", "main.py": ""}, ("python", "worker.py")),
        ({"package.json": node(scripts={"start": "node web.js", "worker": "node w.js"})}, ("node", "w.js")),
    ],
)
def test_a_service_without_a_port_is_started_as_a_worker(tmp_path: Path, tree: Tree, command: object) -> None:
    found = planned(tmp_path, tree, name="jobs", port=None)

    assert found.start is not None and found.start.command == command


def test_a_development_server_is_used_only_with_a_note(tmp_path: Path) -> None:
    found = planned(tmp_path, DJANGO | {"requirements.txt": "django\n"})

    assert any("development server" in note for note in found.notes)


def test_a_missing_start_command_is_noted_unless_the_file_names_one(tmp_path: Path) -> None:
    tree = {"requirements.txt": "six\n"}

    assert any("How to start it" in note for note in planned(tmp_path, tree).notes)
    assert planned(tmp_path, tree, command=("python", "x.py")).notes == ()


@pytest.mark.parametrize(
    ("tree", "package"),
    [
        ({"cmd/web/main.go": GO_MAIN, "cmd/tool/main.go": GO_MAIN}, "./cmd/web"),
        ({"cmd/server/main.go": GO_MAIN, "cmd/tool/main.go": GO_MAIN}, "./cmd/server"),
        ({"services/only/main.go": GO_MAIN, "lib/lib.go": "package lib\n"}, "./services/only"),
        ({"main.go": GO_MAIN, "cmd/web/main.go": GO_MAIN}, "."),
        ({"main_test.go": GO_MAIN, "gen.go": "//go:build ignore\n\n" + GO_MAIN, "cmd/web/m.go": GO_MAIN}, "./cmd/web"),
    ],
)
def test_go_builds_the_main_package_that_is_the_service(tmp_path: Path, tree: Tree, package: str) -> None:
    found = planned(tmp_path, {"go.mod": "module x\n"} | tree)

    assert found.build[0].run[-1] == package


def test_several_go_programs_without_a_match_are_named(tmp_path: Path) -> None:
    found = planned(tmp_path, {"go.mod": "module x\n", "cmd/a/main.go": GO_MAIN, "cmd/b/main.go": GO_MAIN})

    assert found.start is None
    assert "cmd/a, cmd/b" in found.notes[0]


# ── static sites ────────────────────────────────────────────────────────────────────────────

VITE = {"devDependencies": {"vite": "5"}}


@pytest.mark.parametrize(
    ("tree", "site"),
    [
        ({"index.html": ""}, StaticSite(".", False)),
        ({"public/index.html": ""}, StaticSite("public", False)),
        ({"Staticfile": "root: out\n", "out/index.html": ""}, StaticSite("out", False)),
        ({"package.json": node(scripts={"build": "vite build"}, **VITE)}, StaticSite("dist", True)),
        ({"package.json": node(scripts={"build": "vite build", "start": "vite"}, **VITE)}, StaticSite("dist", True)),
        ({"package.json": node(scripts={"build": "vite build --outDir out"}, **VITE)}, StaticSite("out", True)),
        ({"package.json": node(scripts={"build": "vite build", "start": "node server.js"}, **VITE)}, None),
        (
            {"package.json": node(scripts={"build": "astro build"}, dependencies={"astro": "5"})},
            StaticSite("dist", False),
        ),
        (
            {"package.json": node(scripts={"build": "b"}, dependencies={"astro": "5", "@astrojs/node": "9"})},
            None,
        ),
    ],
)
def test_static_sites_are_recognised(tmp_path: Path, tree: Tree, site: StaticSite | None) -> None:
    assert planned(tmp_path, tree).site == site


# ── migrations and seeds ────────────────────────────────────────────────────────────────────

FLASK_MIGRATE: Tree = {"requirements.txt": "flask\nFlask_Migrate\n", "app.py": FLASK, "migrations/env.py": ""}


@pytest.mark.parametrize(
    ("tree", "command"),
    [
        (DJANGO | {"Procfile": "release: ./release.sh\n"}, "./release.sh"),
        (DJANGO, ("python", "manage.py", "migrate", "--noinput")),
        (FLASK_MIGRATE, ("flask", "--app", "app:application", "db", "upgrade")),
        ({"requirements.txt": "alembic\n", "alembic.ini": ""}, ("alembic", "upgrade", "head")),
        (
            {"package.json": node(dependencies={"prisma": "6"}), "prisma/migrations/1/migration.sql": ""},
            ("prisma", "migrate", "deploy"),
        ),
        (
            {"package.json": node(dependencies={"knex": "3"}), "knexfile.js": ""},
            ("knex", "migrate:latest", "--knexfile", "knexfile.js"),
        ),
        (
            {"package.json": node(devDependencies={"drizzle-kit": "1"}), "drizzle.config.ts": ""},
            ("drizzle-kit", "migrate"),
        ),
        ({"package.json": node(scripts={"db:migrate": "node migrate.js"})}, ("node", "migrate.js")),
        ({"package.json": node(scripts={"migrate": "prisma migrate dev"})}, None),
        (
            {"Procfile": "web: bin/rails server\n", "Gemfile": "", "bin/rails": "", "db/migrate/1.rb": ""},
            ("bin/rails", "db:migrate"),
        ),
        ({"requirements.txt": "six\n"}, None),
    ],
)
def test_migrations_are_found_with_their_reason(tmp_path: Path, tree: Tree, command: object) -> None:
    found = planned(tmp_path, tree).migrate

    assert (found.command if found else None) == command
    assert found is None or found.because.endswith(".")


@pytest.mark.parametrize(
    ("tree", "command"),
    [
        ({"package.json": node(scripts={"seed": "node seed.js"})}, ("node", "seed.js")),
        ({"package.json": node(prisma={"seed": "node seed.js"})}, ("prisma", "db", "seed")),
        (DJANGO | {"store/management/commands/seed.py": ""}, ("python", "manage.py", "seed")),
        (DJANGO, None),
        (DJANGO | {"Procfile": "seed: ./seed.sh\n"}, "./seed.sh"),
    ],
)
def test_seeds_are_found(tmp_path: Path, tree: Tree, command: object) -> None:
    found = planned(tmp_path, tree).seed

    assert (found.command if found else None) == command


# ── what has no plan ────────────────────────────────────────────────────────────────────────


def refused(root: Path, tree: Tree, **service: object) -> UserError:
    with pytest.raises(UserError) as caught:
        planned(root, tree, **service)  # type: ignore[arg-type]
    assert caught.value.code == "build_no_plan"
    assert caught.value.hint
    return caught.value


def test_nothing_known_says_what_was_looked_for(tmp_path: Path) -> None:
    assert "requirements.txt" in refused(tmp_path, {"README.md": ""}).message


@pytest.mark.parametrize(("file", "language"), [("Gemfile", "Ruby"), ("Cargo.toml", "Rust"), ("pom.xml", "Java")])
def test_another_language_is_named(tmp_path: Path, file: str, language: str) -> None:
    assert language in refused(tmp_path, {file: ""}).message


def test_a_command_needs_no_manifest(tmp_path: Path) -> None:
    found = planned(tmp_path, {"run.sh": ""}, command=("./run.sh",))

    assert (found.language, found.install, found.build) == ("none", (), ())


@pytest.mark.parametrize("path", ["missing", "../outside", "/etc", "README.md"])
def test_a_path_that_is_no_directory_of_the_commit_is_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "outside").mkdir()

    assert path in refused(tmp_path / "tree", {"README.md": ""}, path=path).message


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({"package.json": "{"}, "package.json is not valid JSON"),
        ({"package.json": "[1]"}, "package.json holds no JSON object"),
        ({"package.json": "[" * 100_000}, "package.json is not valid JSON"),
        ({"package.json": '{"a": "' + "x" * 2_000_000 + '"}'}, "larger than 1 MiB"),
        ({"pyproject.toml": "[project\n"}, "pyproject.toml is not valid TOML"),
        ({"package.json": node(), "bun.lock": ""}, "Bun"),
    ],
)
def test_a_broken_manifest_is_said_and_gives_no_traceback(tmp_path: Path, tree: Tree, says: str) -> None:
    assert says in refused(tmp_path, tree).message


@pytest.mark.parametrize("value", [None, 3, [], "x", {"start": 5, "build": None}])
def test_fields_of_the_wrong_shape_are_as_if_they_were_not_there(tmp_path: Path, value: object) -> None:
    package = dict.fromkeys(("scripts", "dependencies", "engines", "packageManager", "main", "prisma"), value)

    assert planned(tmp_path, {"package.json": json.dumps(package)}).start is None


def test_a_manifest_that_is_a_link_to_somewhere_else_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text(node(scripts={"start": "node secret"}))
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "package.json").symlink_to(tmp_path / "secret.json")

    refused(tmp_path / "tree", {})


@pytest.mark.parametrize(
    ("lock", "root", "command"),
    [
        ("package-lock.json", {"package.json": node(workspaces=["apps/*"])}, "npm start --workspace shop-web"),
        ("yarn.lock", {"package.json": node(workspaces={"packages": ["apps/web"]})}, "yarn workspace shop-web start"),
        (
            "pnpm-lock.yaml",
            {"package.json": node(), "pnpm-workspace.yaml": "packages:\n  - 'apps/**'\n"},
            "pnpm --filter shop-web start",
        ),
    ],
)
def test_a_member_of_a_workspace_is_told_to_build_from_the_root(
    tmp_path: Path, lock: str, root: Tree, command: str
) -> None:
    member = {"apps/web/package.json": json.dumps({"name": "shop-web"}), lock: ""}

    error = refused(tmp_path, root | member, path="apps/web")

    assert lock in error.message
    assert f"`path: .` and `command: {command}`" in error.hint


def test_a_directory_beside_a_workspace_is_planned_for_itself(tmp_path: Path) -> None:
    tree = {"package.json": node(workspaces=["apps/*"]), "package-lock.json": "{}", "tools/web/index.html": ""}

    assert planned(tmp_path, tree, path="tools/web").language == "static"


def test_planning_runs_nothing_and_writes_nothing(tmp_path: Path) -> None:
    tree = {"setup.py": "open('ran', 'w')\n", "manage.py": "open('ran', 'w')\n", "package.json": node()}

    planned(tmp_path, tree)

    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(tree)
