"""Django's settings. All settings that differ between installations come from the environment (docs/operation.md)."""

import os
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import dj_database_url
import django_stubs_ext
from csp.constants import NONE, SELF
from django.utils.translation import gettext_lazy as _

from patchvote.config import data_folder
from patchvote.config.env import ROOT, Environment, unknown_variables

_env = Environment.read()
UNKNOWN_VARIABLES = unknown_variables()
"""Environment variables that look like Patchvote's but that it does not read; a system check reports them."""

# By default the import of PyTorch's compiler creates a folder in the system's temporary folder, and matplotlib creates
# one in the home folder.
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(_env.data_folder / "cache" / "torch"))
os.environ.setdefault("MPLCONFIGDIR", str(_env.data_folder / "cache" / "matplotlib"))

django_stubs_ext.monkeypatch()  # makes Django's generic classes subscriptable at run time

BASE_DIR = ROOT
DATA_DIR = _env.data_folder
FRONTEND_DIR = BASE_DIR / "frontend"

DEBUG = _env.debug
SECRET_KEY = _env.secret_key or data_folder.secret_key(DATA_DIR)
HTTPS = _env.https
"""Whether users reach the server over HTTPS, through a proxy: then cookies are sent over HTTPS only."""

PORT = _env.port
HOST = _env.host
AUTHORITY = f"{f'[{HOST}]' if ':' in HOST else HOST}:{PORT}"
ADDRESS = f"http://{AUTHORITY}/"
ALLOWED_HOSTS = [*_env.allowed_hosts, HOST, "localhost", "127.0.0.1", "[::1]"]
WEB_WORKERS = _env.web_workers
CSRF_TRUSTED_ORIGINS = _env.trusted_origins

INSTALLED_APPS = [
    "patchvote.accounts.apps.TokensConfig",  # first, so that our admin of tokens replaces knox's
    "patchvote.accounts.apps.AuditLogConfig",
    "patchvote.accounts",
    "patchvote.jobs",
    "patchvote.registry",
    "patchvote.cases",
    "patchvote.training",
    "patchvote.standalone",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.forms",
    "patchvote.accounts.apps.SignInAttemptsConfig",
    "csp",
    "django_filters",
    "django_htmx",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "rest_framework",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "patchvote.core.middleware.NoNulMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "patchvote.accounts.audit.AuditLogMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "patchvote.config.urls"
WSGI_APPLICATION = "patchvote.config.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [FRONTEND_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
FORM_RENDERER = "django.forms.renderers.TemplatesSetting"

# --- database ---------------------------------------------------------------------------------------------------------

DATABASES = {
    "default": dj_database_url.parse(_env.database_url or "sqlite://", conn_max_age=60, conn_health_checks=True)
}
if not _env.database_url:
    DATABASES["default"]["NAME"] = str(DATA_DIR / "patchvote.sqlite3")  # a plain path: a URL would need quoting
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["OPTIONS"] = {
        # Writers wait at BEGIN instead of failing in the middle; readers never wait (docs/operation.md).
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        # Each thread of each process has its own page cache of 256 kB; the operating system caches the rest.
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-256;",
    }
    # Tests use a file as well, because SQLite in memory locks differently.
    DATABASES["default"]["TEST"] = {"NAME": str(DATA_DIR / "test.sqlite3")}
elif DATABASES["default"]["ENGINE"].endswith("postgresql"):
    # An unreachable server is reported within seconds; `?connect_timeout=` in the URL has precedence.
    DATABASES["default"]["OPTIONS"] = {
        "connect_timeout": 3,
        # A connection to a vanished server is closed within half a minute.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 25_000,
        **DATABASES["default"].get("OPTIONS", {}),
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- files ------------------------------------------------------------------------------------------------------------

MEDIA_ROOT = DATA_DIR / "media"
MODELS_DIR = DATA_DIR / "models"
TRAINING_DIR = DATA_DIR / "training"
CACHE_DIR = DATA_DIR / "cache"
"""The folder of decoded images and computed features; it may be emptied at any time."""
DATA_ROOTS = [(DATA_DIR / "import").resolve()] if _env.data_roots is None else _env.data_roots
"""Folders below which admins may choose data sets; the images are read in place."""
STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [FRONTEND_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "patchvote.core.storage.DurableFileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
FILE_UPLOAD_PERMISSIONS = 0o600
FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o700
# On the same disk as the media, so that a large upload is renamed, not copied.
FILE_UPLOAD_TEMP_DIR = data_folder.upload_folder(DATA_DIR)

UPLOAD_MAX_BYTES = _env.upload_max_mb * 1024 * 1024
"""The maximum size of one image file."""
UPLOAD_MAX_PIXELS = _env.upload_max_megapixels * 1_000_000
UPLOAD_MAX_IMAGES = _env.upload_max_images
"""The maximum number of images of one case."""
DATA_SET_MAX_BYTES = _env.data_set_max_mb * 1024 * 1024
"""The maximum size of the zip of a data set."""
BUNDLE_MAX_BYTES = _env.bundle_max_mb * 1024 * 1024
"""The maximum size of a bundle, packed and unpacked."""
FILE_UPLOAD_HANDLERS = [
    "patchvote.core.upload_handlers.BoundedUploadHandler",
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "django.core.files.uploadhandler.TemporaryFileUploadHandler",
]
DATA_UPLOAD_MAX_NUMBER_FILES = 100

STORAGE_MARGIN_BYTES = _env.storage_margin_mb * 1024 * 1024
"""Free bytes below which the disk counts as full."""

# --- users ------------------------------------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
FIRST_ADMIN_PASSWORD = _env.admin_password
"""The password of the account that the first start creates; empty for a random one."""
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "accounts:sign-in"
LOGIN_REDIRECT_URL = "cases:list"
LOGOUT_REDIRECT_URL = "accounts:sign-in"

# Ten wrong passwords for one user name from one address lock that pair out for a quarter of an hour.
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_USERNAME_CALLABLE = "patchvote.accounts.views.attempted_username"
AXES_LOCKOUT_CALLABLE = "patchvote.accounts.views.lockout_response"
AXES_VERBOSE = False

# --- language and time ------------------------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("es", _("Spanish"))]
LOCALE_PATHS = [FRONTEND_DIR / "locale"]
TIME_ZONE = _env.time_zone
USE_TZ = True

# --- security ---------------------------------------------------------------------------------------------------------

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:", "blob:"],
        "object-src": [NONE],
        "base-uri": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
# Browsers send cookies to all ports of a host: two installations must not sign out each other's users.
SESSION_COOKIE_NAME = f"patchvote_session_{PORT}"
CSRF_COOKIE_NAME = f"patchvote_csrf_{PORT}"
if HTTPS:
    SECURE_SSL_REDIRECT = True
    SECURE_REDIRECT_EXEMPT = [r"^(api/v1/)?health/$"]
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = _env.hsts_seconds
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True

# --- audit log --------------------------------------------------------------------------------------------------------

AUDITLOG_USE_FK_STRING_REPRESENTATION = True  # entries store names, which outlive rows

# --- REST API ---------------------------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "knox.auth.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_FILTER_BACKENDS": [
        "django_filters.rest_framework.DjangoFilterBackend",
        "patchvote.core.pagination.OrderingFilter",
    ],
    "DEFAULT_PAGINATION_CLASS": "patchvote.core.pagination.PageNumberPagination",
    "PAGE_SIZE": 25,
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_THROTTLE_RATES": {
        "sign-in": _env.rate_sign_in,
        "submit": _env.rate_submit,
        "read": _env.rate_read,
    },
    # X-Forwarded-For is ignored unless there are proxies in front of the server.
    "NUM_PROXIES": _env.proxies,
    "EXCEPTION_HANDLER": "patchvote.core.api_base.exception_handler",
}
REST_KNOX = {"TOKEN_TTL": timedelta(days=_env.token_days), "AUTH_HEADER_PREFIX": "Token"}
SPECTACULAR_SETTINGS = {
    "TITLE": "Patchvote",
    "DESCRIPTION": "Send micrographs, read verdicts and patch votes. Research use only, not a diagnosis.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SCHEMA_PATH_PREFIX": "/api/v1/",
    "ENUM_NAME_OVERRIDES": {
        "StateEnum": "patchvote.jobs.models.State",
        "VerdictEnum": "patchvote.cases.models.Verdict",
        "DecisionEnum": "patchvote.cases.models.Decision",
        "MagnificationEnum": "patchvote.cases.models.Magnification",
    },
}

# --- Celery and Redis -------------------------------------------------------------------------------------------------

PRIVATE_REDIS_SOCKET: Path | None = None
REDIS_URL = _env.redis_url
if not REDIS_URL:
    PRIVATE_REDIS_SOCKET = data_folder.private_redis_socket(DATA_DIR)
    REDIS_URL = f"unix://{quote(str(PRIVATE_REDIS_SOCKET))}"

CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://", 1)
CELERY_TASK_SERIALIZER = CELERY_RESULT_SERIALIZER = CELERY_EVENT_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_CREATE_MISSING_QUEUES = False
CELERY_TASK_DEFAULT_QUEUE = "inference"
# Messages are not acknowledged: the database has the jobs, and the sweep repeats the messages. A worker that waits for
# an acknowledgement while Redis hangs would never take another message.
CELERY_TASK_QUEUES: dict[str, dict[str, bool]] = {"inference": {"no_ack": True}, "training": {"no_ack": True}}
CELERY_TASK_ROUTES = {"patchvote.cases.*": {"queue": "inference"}, "patchvote.training.*": {"queue": "training"}}
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_POOL = "solo"
CELERY_WORKER_CONSUMER = "patchvote.jobs.consumer:ReconnectingConsumer"
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_TRANSPORT_OPTIONS = {
    # Publishing must not delay a request: it is tried once, and the sweep wakes the workers anyway.
    "max_retries": 0,
    "socket_connect_timeout": 2,
    "socket_timeout": 3,
    "socket_keepalive": True,
    "health_check_interval": 10,
}

# --- the ledger -------------------------------------------------------------------------------------------------------

JOB_LEASE = timedelta(seconds=_env.lease_seconds)
"""How long a worker may be silent before its jobs return to the queue; leases are renewed three times as often."""
JOB_MAX_ATTEMPTS = _env.max_attempts
JOB_RETRY = timedelta(seconds=_env.retry_seconds)
"""The delay of a job that was lost twice; it doubles with each further loss, up to `JOB_RETRY_LONGEST`."""
JOB_RETRY_LONGEST = timedelta(minutes=1)
JOB_SWEEP_SECONDS = _env.sweep_seconds
CLEANING_SECONDS = _env.cleaning_seconds
"""The seconds between two cleanings by the sweep."""
ORPHAN_SECONDS = _env.orphan_seconds
"""How many seconds the cleaning keeps a file without a row: the request may be about to write the row."""
INFERENCE_BATCH = _env.inference_batch
"""The maximum number of analyses that an inference worker claims at once; fewer if they fill a forward pass."""
INFERENCE_DEVICE = _env.device
INFERENCE_PRECISION = _env.precision
INFERENCE_NICENESS = _env.inference_niceness
"""The niceness of inference processes: web pages and uploads on the same machine have priority."""
INFERENCE_STALL = timedelta(seconds=_env.stall_seconds)
"""How long a forward pass may make no progress before the inference worker ends itself and another takes over."""
TRAINING_DEVICE = _env.training_device or INFERENCE_DEVICE
TRAINING_MAX_ATTEMPTS = _env.training_max_attempts
"""The maximum number of consecutive attempts without progress."""
TRAINING_NICENESS = _env.training_niceness
"""The niceness of training processes: inference on the same machine has priority."""

# --- the champion -----------------------------------------------------------------------------------------------------

PROMOTION_SENSITIVITY_LOSS = _env.promotion_sensitivity_loss
"""The loss of sensitivity against the champion above which a promotion needs a reason."""
PROMOTION_FEWEST_PATIENTS = _env.promotion_fewest_patients
"""The number of compared patients below which a promotion needs a reason."""

# --- logs -------------------------------------------------------------------------------------------------------------

LOG_FORMAT = _env.log_format
LOGGING_CONFIG = "patchvote.core.log_formatters.configure"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {"()": "patchvote.core.log_formatters.PlainFormatter"},
        "json": {"()": "patchvote.core.log_formatters.ObjectFormatter", "process_name": _env.process},
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT}},
    "root": {"handlers": ["console"], "level": _env.log_level},
    "loggers": {
        "django": {"handlers": ["console"], "level": "WARNING", "propagate": False},
        "celery": {"level": "WARNING"},
        "axes": {"level": "WARNING"},
        "gunicorn.error": {"level": "WARNING", "propagate": True},  # instead of its own handler
    },
}
