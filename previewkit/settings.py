"""Django's settings: read from the environment, then from the state directory's control-plane.env.

A real environment variable wins over the file. Without both (a fresh checkout), everything that needs no
server works: `manage.py check`, `makemigrations --check`, mypy.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import environ
from django.core.management.utils import get_random_secret_key
from dramatiq.middleware import AgeLimit, Callbacks, Retries, ShutdownNotifications, TimeLimit

from previewkit.home import CHECKOUT, Home
from previewkit.logs import logging_settings

HOME = Home.of_environment()


class _Variables(environ.Env):
    """Keeps the file's secrets out of os.environ, which child processes would inherit."""

    ENVIRON = dict(os.environ)


env = _Variables()
if HOME.env_file.exists():
    env.read_env(HOME.env_file)

# ── what PreviewKit itself is told ──────────────────────────────────────────────────────────
PREVIEWKIT_HOME: Path = HOME.root
OWNER_ID: str = env.str("OWNER_ID", default="none")
"""This installation's id: every namespace carries it."""
RUNTIME: str = env.str("RUNTIME", default="embedded")
BASE_DOMAIN: str = env.str("BASE_DOMAIN", default="preview.localhost")
"""Previews live one label under it; the dashboard does not, so they share no cookies."""
DASHBOARD_HOST: str = env.str("DASHBOARD_HOST", default="previewkit.localhost")
HTTPS_PORT: int = env.int("HTTPS_PORT", default=8443)
DASHBOARD_URL: str = env.str(
    "DASHBOARD_URL", default=f"https://{DASHBOARD_HOST}" + ("" if HTTPS_PORT == 443 else f":{HTTPS_PORT}")
)
ENCRYPTION_KEYS: list[str] = env.list("ENCRYPTION_KEYS", default=[])
"""Fernet keys of the secrets at rest: the first one encrypts, all of them decrypt."""
HOOK_SECRET: str = env.str("HOOK_SECRET", default="")
"""Signs what the local provider's git hook sends to /webhooks/local."""

TLS_AUTHORITY: str = env.str("TLS_AUTHORITY", default=str(HOME.tls / "ca.pem"))
"""Certificate of the authority that previews' certificates come from; empty: one that the system knows."""
PREVIEW_PORT: int = env.int("PREVIEW_PORT", default=HTTPS_PORT)
"""Where visitors reach previews: Traefik of this machine, or the cluster's ingress controller."""
FRONT_ADDRESS: tuple[str, int] = (env.str("FRONT_HOST", default="127.0.0.1"), PREVIEW_PORT)
"""Where this process reaches the front door."""

# ── RUNTIME=kubernetes ──────────────────────────────────────────────────────────────────────
KUBECONFIG: str = env.str("KUBECONFIG", default="")
"""Empty: ~/.kube/config, or the account of the pod that this runs in."""
INGRESS_CLASS: str = env.str("INGRESS_CLASS", default="traefik")
INGRESS_CONTROLLER: str = env.str("INGRESS_CONTROLLER", default="kube-system/app.kubernetes.io/name=traefik")
"""`namespace/label=value` of its pods: the only ones from outside that may reach public services."""
STORAGE_CLASS: str = env.str("STORAGE_CLASS", default="")
"""Empty: the cluster's default."""
REGISTRY: str = env.str("REGISTRY", default="")
"""`host:port` that images are pushed to and that the nodes pull from."""
REGISTRY_CONFIG: str = env.str("REGISTRY_CONFIG", default="")
"""JSON of a Docker config.json with the registry's credentials; empty: none needed."""
BUILDKIT_HOST: str = env.str("BUILDKIT_HOST", default="")

# ── tests ───────────────────────────────────────────────────────────────────────────────────
TEST_LAUNCHER = "testruns.launcher.launch"
"""Called with a deployment's id when its address answers. By path: environments never import testruns."""
TEST_SECONDS: float = env.float("TEST_SECONDS", default=150.0)
"""One test run's budget; scenarios that have not begun by then are not run, and said to be."""
TEST_REPORTER = "testruns.selectors.report"
"""A deployment's TestReport for the comment, or None."""

# ── Django ──────────────────────────────────────────────────────────────────────────────────
# Without a stated key nothing outlives the process; the control plane's own is in control-plane.env.
SECRET_KEY: str = env.str("SECRET_KEY", default=get_random_secret_key())
DEBUG = False
ALLOWED_HOSTS: list[str] = [DASHBOARD_HOST, "127.0.0.1", "localhost", *env.list("ALLOWED_HOSTS", default=[])]
ROOT_URLCONF = "previewkit.urls"
ASGI_APPLICATION = "previewkit.asgi.application"
WSGI_APPLICATION = "previewkit.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_dramatiq",
    "django_htmx",
    "channels",
    "environments",
    "testruns",
    "previewkit",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "previewkit.static_files.StaticFiles",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "environments.middleware.ContentSecurityPolicy",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [CHECKOUT / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# ── database: Postgres, the embedded one unless DATABASE_URL says otherwise ─────────────────
_NO_SERVER = {"ENGINE": "django.db.backends.postgresql", "NAME": "previewkit", "HOST": str(HOME.postgres)}
"""Connecting fails with a message that names the state directory; no stranger's server is reached."""
DATABASES: dict[str, dict[str, Any]] = {"default": env.db("DATABASE_URL") if "DATABASE_URL" in env else _NO_SERVER}
if DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    DATABASES["default"].setdefault("OPTIONS", {}).setdefault("connect_timeout", 10)

# ── broker and browser pushes: Valkey ───────────────────────────────────────────────────────
REDIS_URL: str = env.str("REDIS_URL", default="redis://127.0.0.1:6379/0")
REDIS_PREFIX: str = env.str("REDIS_PREFIX", default="previewkit")
"""Starts every key, so that installations (and tests) may share one server."""

DRAMATIQ_BROKER = {
    "BROKER": "dramatiq.brokers.redis.RedisBroker",
    "OPTIONS": {
        "url": REDIS_URL,
        "namespace": f"{REDIS_PREFIX}:dramatiq",
        # A killed worker's messages go to another one after this long (milliseconds).
        "heartbeat_timeout": 15_000,
        "maintenance_chance": 20_000,
    },
    "MIDDLEWARE": [
        AgeLimit(),
        # Milliseconds. The longest honest work is a build; an actor that knows better states its own.
        TimeLimit(time_limit=3_600_000),
        ShutdownNotifications(notify_shutdown=True),
        Callbacks(),
        Retries(max_retries=5, min_backoff=1_000, max_backoff=60_000),
        "django_dramatiq.middleware.DbConnectionsMiddleware",
    ],
}
DRAMATIQ_AUTODISCOVER_MODULES = ["actors"]

CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": f"{REDIS_PREFIX}:cache",
    }
}

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {
            # Channels waits 5 s at a time for messages: redis-py's own limit of 5 s would cut idle browsers off.
            "hosts": [{"address": REDIS_URL, "socket_timeout": 30}],
            "prefix": f"{REDIS_PREFIX}:channels",
            "capacity": 1000,
            "expiry": 60,
        },
    }
}

# ── the web: TLS ends at Traefik, on this machine ───────────────────────────────────────────
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT: bool = env.bool("SECURE_SSL_REDIRECT", default=True)
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^webhooks/", r"^internal/"]
"""Called by programs on this machine, without TLS."""
SECURE_HSTS_SECONDS = 30 * 24 * 3600
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SILENCED_SYSTEM_CHECKS = ["security.W021"]  # Browsers' preload lists take no names like previewkit.localhost.
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_SECURE = True
SESSION_COOKIE_NAME = "previewkit_session"
CSRF_COOKIE_SECURE = True
CSRF_COOKIE_NAME = "previewkit_csrf"
CSRF_TRUSTED_ORIGINS = [DASHBOARD_URL]
X_FRAME_OPTIONS = "DENY"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "login"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

STATIC_URL = "/static/"
STATICFILES_DIRS = [CHECKOUT / "static"]
STATIC_ROOT: str | None = env.str("STATIC_ROOT", default="") or None
WHITENOISE_USE_FINDERS = STATIC_ROOT is None
"""Served from where they lie, so that a checkout needs no collectstatic."""

LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

LOGGING = logging_settings(env.str("LOG_FORMAT", default="console"), env.str("LOG_LEVEL", default="INFO"))
