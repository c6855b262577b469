"""Django's settings. What an operator may set comes from the environment; docs/concepts.md lists it."""

import os
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.urls import reverse_lazy

from llamastack import __version__
from llamastack.encryption import kept
from llamastack.home import home

BASE_DIR = Path(__file__).resolve().parent.parent
# Who waits for a connection waits 3 s. The pool itself tries for 2 s and then starts over with the next one who asks:
# by its default it doubles its pauses, and would find a database that is back a minute late.
POOL = {"min_size": 0, "max_size": 16, "timeout": 3, "reconnect_timeout": 2}
LOOPBACK_HOSTS = ["localhost", "127.0.0.1", "[::1]"]


def listed(name: str, default: list[str]) -> list[str]:
    """A comma-separated environment variable."""
    text = os.environ.get(name, "")
    return [item.strip() for item in text.split(",") if item.strip()] or default


def folder(package: str) -> Path:
    """Where a package lies, which is not imported for that."""
    spec = find_spec(package)
    return Path(str(spec and spec.origin)).parent


def database(url: str) -> dict[str, Any]:
    """A DATABASE_URL as Django's dictionary: `sqlite:///path` or `postgresql://user:password@host:port/name`."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        # IMMEDIATE: a writer queues at once instead of failing half-way through with "database is locked".
        pragmas = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
        options: dict[str, Any] = {"timeout": 20, "transaction_mode": "IMMEDIATE", "init_command": pragmas}
        name = unquote(parts.path[1:])
        # Tests use a file too: SQLite's shared memory knows no waiting for a lock.
        test = {"NAME": f"{name}.test"}
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": name, "OPTIONS": options, "TEST": test}
    if parts.scheme not in ("postgres", "postgresql"):
        raise ValueError(f"DATABASE_URL must begin with sqlite:/// or postgresql://, not '{parts.scheme}://'.")
    query = dict(parse_qsl(parts.query))
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path[1:]),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": query.pop("host", parts.hostname or ""),
        "PORT": parts.port or "",
        "OPTIONS": {"pool": POOL, "connect_timeout": 5, **query},
    }


SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY") or kept("django_secret_key", lambda: os.urandom(48).hex())
DEBUG = os.environ.get("DJANGO_DEBUG") == "1"
ALLOWED_HOSTS = listed("LLAMA_STACK_ALLOWED_HOSTS", LOOPBACK_HOSTS)
# Web pages of these origins may call the API from a browser, beside the server's own.
ALLOWED_ORIGINS = listed("LLAMA_STACK_ALLOWED_ORIGINS", [])
# Beside the public internet, what URLs in requests may lead to: host names, addresses, networks; `none` forbids all.
ALLOWED_FETCHES = listed("LLAMA_STACK_ALLOWED_FETCHES", [])
AUTH_REQUIRED = os.environ.get("LLAMA_STACK_AUTH") == "required"
VECTOR_PROVIDER = os.environ.get("LLAMA_STACK_VECTOR_PROVIDER") or None  # of a vector store that names none
FAST_LANE = os.environ.get("LLAMA_STACK_FAST_LANE") != "0"
WORKERS = int(os.environ.get("LLAMA_STACK_WORKERS", "1"))  # set by `llama stack run` for each of them
MAX_BODY_BYTES = int(os.environ.get("LLAMA_STACK_MAX_BODY_BYTES", str(16 * 1024 * 1024)))
MAX_FILE_BYTES = int(os.environ.get("LLAMA_STACK_MAX_FILE_BYTES", str(512 * 1024 * 1024)))

INSTALLED_APPS = [
    "daphne",
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
    "django_celery_beat",
    "ninja",
    "apps.access",
    "apps.jobs",
    "apps.registry",
    "apps.files",
    "apps.inference",
    "apps.file_processors",
    "apps.vector_io",
    "apps.batches",
    "apps.console",
]
# Pages alone pay for sessions, CSRF and messages: /v1 passes through these untouched (llamastack/middleware.py).
MIDDLEWARE = [
    "llamastack.middleware.api_responses",
    "llamastack.middleware.PageSecurity",
    "llamastack.middleware.PageSessions",
    "llamastack.middleware.PageCommon",
    "llamastack.middleware.PageCsrf",
    "llamastack.middleware.PageAuthentication",
    "llamastack.middleware.PageMessages",
    "llamastack.middleware.PageFrames",
    "axes.middleware.AxesMiddleware",
]
# Django looks for SecurityMiddleware, CsrfViewMiddleware and XFrameOptionsMiddleware by their exact paths; the three
# above are these very classes (tests/unit/core/test_pages.py holds them to what the checks are about).
SILENCED_SYSTEM_CHECKS = ["security.W001", "security.W002", "security.W003"]
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AUTH_USER_MODEL = "access.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "/"
# Five wrong passwords lock a user name at an address for a quarter of an hour.
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = 0.25
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_VERBOSE = False
AXES_ENABLE_ADMIN = False
AXES_LOCKOUT_CALLABLE = "llamastack.admin.locked_out"

ROOT_URLCONF = "llamastack.urls"
ASGI_APPLICATION = "llamastack.asgi.application"
CONTEXT = [
    "django.template.context_processors.request",
    "django.contrib.auth.context_processors.auth",
    "django.contrib.messages.context_processors.messages",
]
# Django REST framework is no app here, since Django imports the template tags of apps, and with them most of it, at
# once. Its templates and static files are found all the same.
REST = folder("rest_framework")
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": CONTEXT},
    },
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "NAME": "manage",
        "DIRS": [BASE_DIR / "apps/registry/rest/templates", REST / "templates", BASE_DIR / "templates"],
        "OPTIONS": {
            "context_processors": CONTEXT,
            "libraries": {"rest_framework": "rest_framework.templatetags.rest_framework"},
        },
    },
]
STATIC_URL = "/static/"
STATICFILES_DIRS = [REST / "static"]

DATABASE_URL = os.environ.get("DATABASE_URL") or f"sqlite:///{home() / 'llamastack.db'}"
DATABASES = {"default": database(DATABASE_URL)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
REDIS_URL = os.environ.get("REDIS_URL", "")
# Who does the jobs: this process (`here`), or `llama worker` (`workers`), which is `worker` itself.
JOBS_KEPT = timedelta(days=int(os.environ.get("LLAMA_STACK_JOBS_DAYS", "30")))
JOBS = os.environ.get("LLAMA_STACK_JOBS") or ("workers" if REDIS_URL else "here")
CHANNEL_LAYERS: dict[str, dict[str, Any]] = {
    # redis-py's own time-out would break the layer's blocking reads.
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {"hosts": [{"address": REDIS_URL, "socket_timeout": None}]},
    }
    if REDIS_URL
    else {"BACKEND": "channels.layers.InMemoryChannelLayer"}
}

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
FORMAT_MODULE_PATH = ["llamastack.formats"]

# Behind TLS (LLAMA_STACK_HTTPS=1): cookies travel on it alone, and browsers are told to stay on it.
HTTPS = os.environ.get("LLAMA_STACK_HTTPS") == "1"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_SSL_REDIRECT = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
CSRF_TRUSTED_ORIGINS = ALLOWED_ORIGINS
SESSION_COOKIE_NAME = "llamastack_session"
CSRF_COOKIE_NAME = "llamastack_csrf"
X_FRAME_OPTIONS = "DENY"
# asgi.py counts the body's bytes itself, and answers 413 in our own shape.
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES

# /manage/ (apps/registry/rest), whose modules are imported when it is first asked for.
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["apps.registry.rest.access.Operators"],
    "DEFAULT_SCHEMA_CLASS": "apps.registry.rest.description.Description",
    "EXCEPTION_HANDLER": "apps.registry.rest.errors.answered",
    "URL_FORMAT_OVERRIDE": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Llama Stack: management",
    "DESCRIPTION": "Providers, models, API keys, usage and jobs, for operators' scripts.",
    "VERSION": __version__,
    "SERVE_URLCONF": "apps.registry.rest.urls",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SCHEMA_PATH_PREFIX": "/manage/",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "ProviderStateEnum": "apps.registry.rest.providers.STATES",
        "KeyStateEnum": "apps.registry.rest.keys.STATES",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "apps.registry.rest.description.with_errors",
    ],
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    # They warn of what a client has done wrong; the answer has told the client.
    "loggers": {"django.request": {"level": "ERROR"}, "python_multipart": {"level": "ERROR"}},
    "root": {"handlers": ["console"], "level": os.environ.get("LLAMA_STACK_LOG_LEVEL", "WARNING").upper()},
}


def _elsewhere(request: Any) -> bool:
    """Whether a page of the admin is the one that this line leads to."""
    return False


def _page(title: str, icon: str, model: str) -> dict[str, Any]:
    """A line of the admin's sidebar, for those who may see the page."""
    app, _, name = model.partition("_")
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{model}_changelist"),
        "permission": lambda request: request.user.has_perm(f"{app}.view_{name}"),
    }


UNFOLD = {
    "SITE_TITLE": "Llama Stack",
    "SITE_HEADER": "Llama Stack",
    "SITE_SUBHEADER": "One API for every AI capability",
    "SITE_URL": "/",
    "SITE_ICON": f"{STATIC_URL}console/icon.svg",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": f"{STATIC_URL}console/icon.svg"}],
    "STYLES": [f"{STATIC_URL}console/admin.css"],
    "SHOW_HISTORY": True,
    "SHOW_BACK_BUTTON": True,
    "DASHBOARD_CALLBACK": "apps.registry.dashboard.dashboard",
    "SIDEBAR": {
        "navigation": [
            {
                "title": "Llama Stack",
                "items": [
                    {"title": "Overview", "icon": "monitoring", "link": reverse_lazy("admin:index")},
                    {"title": "Playground", "icon": "chat", "link": "/", "active": _elsewhere},
                    {"title": "API", "icon": "api", "link": "/docs", "active": _elsewhere},
                ],
            },
            {
                "title": "Registry",
                "items": [
                    _page("Providers", "dns", "registry_provider"),
                    _page("Models", "network_intelligence", "registry_model"),
                ],
            },
            {
                "title": "Inference",
                "items": [_page("Stored completions", "forum", "inference_storedcompletion")],
            },
            {
                "title": "Files",
                "items": [
                    _page("Files", "draft", "files_file"),
                    _page("Vector stores", "database", "registry_vectorstore"),
                    _page("Files in stores", "topic", "vector_io_vectorstorefile"),
                ],
            },
            {
                "title": "Long work",
                "items": [
                    _page("Jobs", "work_history", "jobs_job"),
                    _page("Batches", "batch_prediction", "batches_batch"),
                    _page("Schedules", "schedule", "jobs_schedule"),
                ],
            },
            {
                "title": "Access",
                "items": [
                    _page("API keys", "key", "access_apikey"),
                    _page("Usage", "data_usage", "access_usage"),
                    _page("Users", "person", "access_user"),
                    _page("Groups", "group", "auth_group"),
                ],
            },
        ],
    },
}
