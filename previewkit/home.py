"""The state directory: where everything lives that PreviewKit keeps on this machine.

`PREVIEWKIT_HOME`, else `.previewkit` in the checkout. Imports no Django.

    control-plane.env     settings that were generated once: keys, passwords, ports, addresses (mode 0600)
    control-plane.lock    held while the control plane is being started or stopped
    supervisord.conf      written anew by every `previewkit up`; supervisord.pid beside it
    postgres/data/        the control plane's own database
    valkey/               the control plane's own broker
    traefik/              traefik.yml, and dynamic/: one file for the dashboard, one for each environment
    tls/                  the certificate authority of this installation and its one wildcard certificate
    environments/         the embedded runtime: one directory for each environment
    builds/               releases and caches of the builders, content-addressed
    git/                  the local provider's bare repositories, with their pull requests and comments
    sources/, checkouts/  mirrors of what is built, and commits being built
    browsers/             a Chromium, where the machine had none (`previewkit browser install`)
    logs/                 one file for each supervised program

Deleting the directory (after `previewkit down`) deletes all of PreviewKit's state.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Home:
    """Paths within one state directory. Creates nothing."""

    root: Path

    @classmethod
    def of_environment(cls) -> Home:
        stated = os.environ.get("PREVIEWKIT_HOME")
        return cls(Path(stated).expanduser().absolute() if stated else CHECKOUT / ".previewkit")

    @property
    def env_file(self) -> Path:
        return self.root / "control-plane.env"

    @property
    def lock_file(self) -> Path:
        return self.root / "control-plane.lock"

    @property
    def supervisord_conf(self) -> Path:
        return self.root / "supervisord.conf"

    @property
    def supervisord_pid(self) -> Path:
        return self.root / "supervisord.pid"

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def valkey(self) -> Path:
        return self.root / "valkey"

    @property
    def traefik(self) -> Path:
        return self.root / "traefik"

    @property
    def routes(self) -> Path:
        """Traefik's watched directory."""
        return self.traefik / "dynamic"

    @property
    def tls(self) -> Path:
        return self.root / "tls"

    @property
    def environments(self) -> Path:
        return self.root / "environments"

    @property
    def builds(self) -> Path:
        return self.root / "builds"

    @property
    def git(self) -> Path:
        return self.root / "git"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def browsers(self) -> Path:
        """Where Playwright's own browsers are: where they are already, else in the state directory."""
        stated = os.environ.get("PLAYWRIGHT_BROWSERS_PATH")
        usual = Path.home() / ".cache" / "ms-playwright"
        return Path(stated) if stated else usual if usual.is_dir() else self.root / "browsers"
