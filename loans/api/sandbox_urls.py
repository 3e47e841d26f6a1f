"""Route what only a sandbox has, below /api/sandbox/."""

from django.urls import path

from loans.api.sandbox_clock import SandboxClock

urlpatterns = [path("clock/", SandboxClock.as_view(), name="sandbox-clock")]
