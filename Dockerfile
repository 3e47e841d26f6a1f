# One image for the web server (default), worker, beat and commands. The health check is the web server's.
#   docker run --no-healthcheck … peerloans celery -A peerloans.celery worker
#   docker run --no-healthcheck … peerloans celery -A peerloans.celery beat
#   docker run … peerloans python manage.py migrate
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH
COPY requirements.txt .
RUN pip install --no-cache-dir --disable-pip-version-check -r requirements.txt
WORKDIR /app
COPY . .
# Static files need no server, only settings that are complete.
RUN SECRET_KEY=build DATABASE_URL=postgresql:/// REDIS_URL=redis:// CELERY_BROKER_URL=redis:// EMAIL_URL=dummymail:// EMAIL_FROM=build python manage.py collectstatic --no-input

FROM ${BASE}
RUN useradd --system --uid 10001 peerloans
COPY --from=build /venv /venv
COPY --from=build /app /app
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /app
USER peerloans
EXPOSE 8000
HEALTHCHECK --start-period=30s CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000, timeout=5); c.request('GET', '/'); exit(c.getresponse().status >= 500)"]
# The pool is for the web server's threads alone: worker and beat fork, and open their own connections.
CMD ["env", "DATABASE_POOL_SIZE=4", "granian", "--interface", "wsgi", "peerloans.wsgi:application", "--host", "0.0.0.0", "--port", "8000", "--workers", "2", "--blocking-threads", "4"]
