# One image for web (default), worker, beat and commands; compose.yaml shows each. BASE needs Python 3.11 or newer with venv.
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
RUN python3 -m venv /venv
ENV PATH=/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1
COPY requirements/production.lock .
# What only installs is not needed where it runs.
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r production.lock && pip uninstall --yes setuptools pip
WORKDIR /app
COPY . .
# Static files need no server, only settings that are complete; these are used nowhere else.
RUN DATABASE_URL=postgresql:///build REDIS_URL=redis:// CELERY_BROKER_URL=redis:// EMAIL_URL=dummymail:// EMAIL_FROM=build@localhost ALLOWED_HOSTS=build \
    SECRET_KEY=$(python -c 'import secrets; print(secrets.token_hex(32))') \
    BANK_WEBHOOK_SECRETS=whsec_$(python -c 'import base64, os; print(base64.b64encode(os.urandom(24)).decode())') \
    python manage.py collectstatic --no-input

FROM ${BASE}
# Celery takes a user without a named group for root.
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin peerloans
COPY --from=build /venv /venv
COPY --from=build /app /app
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
WORKDIR /app
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --start-period=30s --interval=10s --timeout=5s \
    CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000, timeout=4); c.request('GET', '/readyz'); exit(c.getresponse().status != 200)"]
CMD ["env", "DATABASE_STATEMENT_SECONDS=30", "PROMETHEUS_MULTIPROC_DIR=/tmp/metrics", \
     "granian", "--interface", "asginl", "peerloans.asgi:application", "--http", "1", "--no-ws", \
     "--host", "0.0.0.0", "--port", "8000", "--workers", "2", "--respawn-failed-workers", \
     "--backlog", "4096", "--backpressure", "2048", "--http1-buffer-size", "65536", "--http1-header-read-timeout", "20000", \
     "--log-level", "warning", "--log-config", "peerloans/granian.json"]
