"""Read all settings from the environment. docs/operations.md has the table of variables."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from peerloans import secret_strength
from peerloans.database.prepared import Cursor
from peerloans.devserver import embedded
from peerloans.environment import Environment, comma_separated

env = Environment()

BASE_DIR = Path(__file__).resolve().parent.parent

# Only where it is asked for, since it shows much to everybody. `make run` and the tests ask; manage.py does beside `make run`.
DEBUG = env.in_debug = env.flag("DEBUG", default=False)


def refuse(name: str, weakness: str | None) -> None:
    """Note a problem with a secret, unless it has no weakness. In debug secrets may be weak."""
    if weakness and not DEBUG:
        env.problems.append(f"{name} {weakness}")


SECRET_KEY = env.required("SECRET_KEY", in_debug="only-for-debug")
# Signatures and sessions made with these keys stay valid. Empty the list when they have expired.
SECRET_KEY_FALLBACKS = env.values("SECRET_KEY_FALLBACKS")
if os.environ.get("SECRET_KEY"):
    refuse("SECRET_KEY", secret_strength.weakness_of_key(SECRET_KEY))
for key in SECRET_KEY_FALLBACKS:
    refuse("SECRET_KEY_FALLBACKS", secret_strength.weakness_of_key(key))
ALLOWED_HOSTS = comma_separated(env.required("ALLOWED_HOSTS", in_debug="*"))
if "*" in ALLOWED_HOSTS and os.environ.get("ALLOWED_HOSTS"):
    refuse("ALLOWED_HOSTS", "must name the site's hosts: with a wildcard a stranger chooses the host name of our links.")
CSRF_TRUSTED_ORIGINS = env.origins("CSRF_TRUSTED_ORIGINS")

# --- Browsers -----------------------------------------------------------------------------------------
# The number of proxies in front. Each appends the address of its caller to X-Forwarded-For, and sets X-Forwarded-Proto.
PROXIES = env.whole_number("PROXIES", default=0, least=0)
HTTPS = env.flag("HTTPS", default=not DEBUG)
SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
# W021 asks for HSTS preload, which binds a whole domain for years. That is the domain owner's decision.
SILENCED_SYSTEM_CHECKS = ["security.W021"]
if PROXIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "object-src": ["'none'"],
    }
}

# How many dollars one member of staff may record, assign, mark as refunded or settle ahead of turn without the approval of another.
APPROVAL_ABOVE_DOLLARS = env.dollars("APPROVAL_ABOVE_DOLLARS", default="10000")

INSTALLED_APPS = [
    "peerloans.apps.StaffConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "rest_framework",
    "knox",
    "axes",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_otp.plugins.otp_static",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "csp",
    "peerloans.monitoring",
    "cbsa",
    "loans",
]

MIDDLEWARE = [
    "peerloans.monitoring.views.MonitoringMiddleware",
    "peerloans.monitoring.logging.RequestLogMiddleware",
    "peerloans.monitoring.metrics.RequestMetricsMiddleware",
    "peerloans.web.middleware.RefusalMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "peerloans.web.middleware.PageCSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "peerloans.web.middleware.PageSessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "peerloans.web.middleware.PageAuthenticationMiddleware",
    "peerloans.web.middleware.PageOTPMiddleware",
    "peerloans.web.middleware.PageSessionTimeoutMiddleware",
    "peerloans.web.middleware.PageMessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "peerloans.urls"
# How many requests each web process answers at once. Each thread keeps a connection to each database.
WEB_THREADS = env.whole_number("WEB_THREADS", default=4, least=1)
# The bytes that a body may have, except on the pages that peerloans/web/door.py names. A thousand ZIPs have 9,000.
DATA_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024
APPEND_SLASH = False

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
            "builtins": ["peerloans.web.wording_filters"],
        },
    },
]

# --- Database -------------------------------------------------------------------------------------------------------
DATABASES = {"default": env.database("DATABASE_URL", in_debug=embedded.database_url())}
# A hot standby for reading lists and pages (peerloans/database/replica.py).
if replica := env.other_database("DATABASE_REPLICA_URL"):
    DATABASES["replica"] = replica | {"TEST": {"MIRROR": "default"}}
# Whether a pooler such as PgBouncer gives out a connection for one transaction only.
POOLED_BY_TRANSACTION = env.flag("DATABASE_POOLED_BY_TRANSACTION", default=False)
# Web servers set this, since no client waits longer for an answer. Jobs take the time they need.
STATEMENT_SECONDS = env.whole_number("DATABASE_STATEMENT_SECONDS", default=0, least=0)
for database in DATABASES.values():
    database |= {"ENGINE": "peerloans.database.backend", "CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}
    options = database.setdefault("OPTIONS", {})
    # Behind such a pooler a kept plan could reach a different connection, so none is kept.
    options |= {"server_side_binding": True, "cursor_factory": Cursor, "prepare_threshold": None if POOLED_BY_TRANSACTION else 0}
    # A server or a network that disappeared silently is noticed within half a minute.
    options |= {"connect_timeout": 5, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
    if POOLED_BY_TRANSACTION:
        database["DISABLE_SERVER_SIDE_CURSORS"] = True
    else:
        # A wait for a lock that exceeds this time is answered with `busy`. Behind a pooler the role sets these limits.
        limits = {"lock_timeout": "3s", "idle_in_transaction_session_timeout": "5min", "statement_timeout": f"{STATEMENT_SECONDS}s"}
        if DEBUG:
            limits["search_path"] = "public,sandbox,pg_catalog"  # peerloans/database/sandbox_clock.py says why
        options["options"] = " ".join(f"-c {name}={value}" for name, value in limits.items())
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Redis and Celery -----------------------------------------------------------------------------------------------
REDIS_URL = env.redis("REDIS_URL", in_debug=embedded.redis_url(1))
CACHES: dict[str, Any] = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "peerloans",
        "OPTIONS": {
            # No decision depends on Redis, so the system works without it.
            "IGNORE_EXCEPTIONS": True,
            "SOCKET_CONNECT_TIMEOUT": 0.25,
            "SOCKET_TIMEOUT": 0.25,
        },
    },
}
# Addresses of Redis Sentinel, host:port. REDIS_URL then names the service instead of a host.
if sentinels := env.addresses("REDIS_SENTINELS"):
    DJANGO_REDIS_CONNECTION_FACTORY = "django_redis.pool.SentinelConnectionFactory"
    CACHES["default"]["OPTIONS"]["SENTINELS"] = sentinels
DJANGO_REDIS_LOG_IGNORED_EXCEPTIONS = True

CELERY_BROKER_URL = env.broker("CELERY_BROKER_URL", in_debug=embedded.broker_url(0))
# RabbitMQ keeps a queue and an exchange as they were first declared, and refuses another declaration of the same name. So a change
# of a declaration below also raises the number in these names, and the release before keeps its own.
JOBS_QUEUE, DELIVERIES_QUEUE, EXCHANGE = "jobs-1", "deliveries-1", "peerloans-1"
CELERY_TASK_DEFAULT_QUEUE = JOBS_QUEUE
if CELERY_BROKER_URL.startswith(("amqp", "pyamqp")):
    # A quorum queue is stored by a majority of RabbitMQ's nodes. A task counts as sent once they have it.
    CELERY_TASK_DEFAULT_QUEUE_TYPE = "quorum"
    # With a topic exchange RabbitMQ itself delays tasks that are sent for later.
    CELERY_TASK_DEFAULT_EXCHANGE_TYPE = "topic"
    CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, bool | int] = {"confirm_publish": True}
    queue_options: dict[str, Any] = {"exchange_type": "topic", "queue_arguments": {"x-queue-type": "quorum"}}
else:
    queue_options = {"exchange_type": "direct"}
    # Longer than the second for which workers wait for a task, and short enough for a request that sends one after its commit.
    CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_timeout": 5, "socket_connect_timeout": 2}
# Deliveries have a queue of their own, since a slow mail server makes them slow. A worker without `-Q` serves both queues.
CELERY_TASK_QUEUES = {name: {"exchange": EXCHANGE, "routing_key": name, **queue_options} for name in (JOBS_QUEUE, DELIVERIES_QUEUE)}
CELERY_TASK_ROUTES = {"loans.tasks.deliver": {"queue": DELIVERIES_QUEUE}}
# Nothing here commands workers from afar. With it, two workers on one host would need different names.
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
# If a task cannot be sent, the scheduled job does its work.
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0.1}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_SOFT_TIME_LIMIT = 240
CELERY_TASK_TIME_LIMIT = 300
# These configure the log of workers and beat, and count runs of tasks.
CELERY_IMPORTS = ["peerloans.monitoring.logging", "peerloans.job_runs"]
CELERY_TIMEZONE = "UTC"
# Beat saves its state after each job, so that monitoring can see it.
CELERY_BEAT_SYNC_EVERY = 1
CELERY_BEAT_SCHEDULER = "peerloans.scheduler:Scheduler"

# --- E-mail and webhooks to investors -------------------------------------------------------------------------------
vars().update(env.mail_server("EMAIL_URL", in_debug="consolemail://"))
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.sender("EMAIL_FROM", in_debug="peerloans <loans@localhost>")
# Investors choose the URLs of their endpoints, so these must not lead into our own network; in debug it is that of the one who tries them.
WEBHOOKS_ALLOW_PRIVATE_NETWORKS = env.flag("WEBHOOKS_ALLOW_PRIVATE_NETWORKS", default=DEBUG)

# --- Time, language -------------------------------------------------------------------------------------------------
LANGUAGE_CODE = "en-us"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "America/New_York"
FORMAT_MODULE_PATH = "peerloans.formats"

# --- Static files ---------------------------------------------------------------------------------------------------
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
WHITENOISE_USE_FINDERS = DEBUG
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

# --- Accounts -------------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "loans.User"
PASSWORD_RESET_TIMEOUT = 3 * 24 * 60 * 60  # seconds in which an invited colleague chooses a password
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation." + name, "OPTIONS": options}
    for name, options in (
        ("UserAttributeSimilarityValidator", {}),
        ("MinimumLengthValidator", {"min_length": 12}),
        ("CommonPasswordValidator", {}),
        ("NumericPasswordValidator", {}),
    )
]
# Wrong passwords are counted in the database by user name and address together, so one person cannot lock out another.
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_CLIENT_IP_CALLABLE = "peerloans.api.throttling.address_of"
AXES_HTTP_RESPONSE_CODE = 429
AXES_LOCKOUT_TEMPLATE = "locked_out.html"
AXES_DISABLE_ACCESS_LOG = True
AXES_VERBOSE = False
AXES_SENSITIVE_PARAMETERS = ["username", "ip_address", "code", "csrfmiddlewaretoken"]  # and the password, always
LOGIN_REDIRECT_URL = "admin:index"
OTP_TOTP_ISSUER = "peerloans"
# Whether all staff must enter a code from their phone. Otherwise only those who have set it up.
SECOND_FACTOR_REQUIRED = env.flag("SECOND_FACTOR_REQUIRED", default=False)
# A staff session ends when it was idle for this long, and this many hours after it began.
SESSION_IDLE_MINUTES = env.whole_number("SESSION_IDLE_MINUTES", default=60, least=1)
SESSION_HOURS = env.whole_number("SESSION_HOURS", default=12, least=1)
SESSION_COOKIE_AGE = 3600 * SESSION_HOURS
SESSION_ENGINE = "peerloans.web.sessions"

# --- API ------------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["loans.api.authentication.BearerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["loans.api.permissions.IsInvestor"],
    "DEFAULT_RENDERER_CLASSES": ["peerloans.api.renderers.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "peerloans.api.renderers.Negotiation",
    "DEFAULT_PARSER_CLASSES": ["peerloans.api.parsers.BoundedJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "loans.api.schema.ApiSchema",
    "EXCEPTION_HANDLER": "peerloans.api.problem_details.exception_handler",
    "DEFAULT_THROTTLE_CLASSES": ["peerloans.api.throttling.CallerThrottle"],
    # Requests per second, minute, hour or day, as in 100/s. Empty: unlimited.
    "DEFAULT_THROTTLE_RATES": {
        "user": env.rate("THROTTLE", default="6000/m"),
        "download": env.rate("THROTTLE_DOWNLOAD", default="60/m"),
        "login": env.rate("THROTTLE_LOGIN", default="60/m"),
    },
    "NUM_PROXIES": PROXIES,
}
REST_KNOX = {"TOKEN_TTL": timedelta(hours=env.whole_number("TOKEN_HOURS", default=10, least=1))}
# Standard Webhooks secrets (whsec_…) that the bank may sign with. Two while one replaces the other.
BANK_WEBHOOK_SECRETS = comma_separated(env.required("BANK_WEBHOOK_SECRETS", in_debug=""))
for secret in BANK_WEBHOOK_SECRETS:
    refuse("BANK_WEBHOOK_SECRETS", secret_strength.weakness_of_webhook_secret(secret))
SPECTACULAR_SETTINGS = {
    "TITLE": "peerloans",
    "DESCRIPTION": "A marketplace where investors buy parts of real-estate loans.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "WEBHOOKS": ["loans.api.schema.message", "loans.api.schema.test_message"],
    "ENUM_NAME_OVERRIDES": {
        "LoanStatus": "loans.domain.states.PUBLIC_STATUSES",
        "MessageType": "loans.notifications.messages.TYPES",
        "PaymentStatus": "loans.domain.states.INBOUND_STATUSES",
        "RefundStatus": ["due", "paid"],
        "TransferMethod": ["ach", "wire"],
        "ReservationState": ["reserved", "pending", "settled", "canceled"],
        "StandingOrderState": ["active", "paused", "ended"],
        "WaitingListState": ["waiting", "placed", "left", "removed", "ended"],
    },
    "PATH_CONVERTER_OVERRIDES": {"any-uuid": {"type": "string", "format": "uuid"}},
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

# --- Log and metrics ------------------------------------------------------------------------------------------------
METRICS_TOKEN = env.text("METRICS_TOKEN")
if METRICS_TOKEN:
    refuse("METRICS_TOKEN", secret_strength.weakness_of_token(METRICS_TOKEN))
# The web processes of one machine share this folder, so that each scrape gives their sum. It must exist before the first use.
env.folder("PROMETHEUS_MULTIPROC_DIR")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"},
        "json": {"()": "peerloans.monitoring.logging.JSONFormatter"},
    },
    "filters": {"quiet_jobs": {"()": "peerloans.monitoring.logging.QuietJobs"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain" if DEBUG else "json"}},
    "loggers": {
        # Only the root's handler logs. A client's error is answered and not logged.
        "django": {"handlers": [], "propagate": True},
        "django.request": {"level": "ERROR"},
        # These would write a traceback for each request with a wrong host name or too many fields.
        "django.security": {"level": "CRITICAL"},
        # axes would log user names and addresses. Staff see them in the admin.
        "axes": {"level": "CRITICAL"},
        **{name: {"filters": ["quiet_jobs"]} for name in ("celery.beat", "celery.worker.strategy", "celery.app.trace")},
        # In debug, one line for each request would hide everything else.
        "peerloans.monitoring.logging": {"level": "WARNING" if DEBUG else "NOTSET"},
    },
    "root": {"handlers": ["console"], "level": env.log_level("LOG_LEVEL")},
}

if env.problems:
    raise ImproperlyConfigured("\n".join(env.problems))
