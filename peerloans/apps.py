"""Make peerloans.admin.site.StaffSite the admin of the project."""

from django.contrib.admin.apps import SimpleAdminConfig


class StaffConfig(SimpleAdminConfig):
    """Leaves the discovery of admin pages to peerloans/urls.py, so that commands do not wait for their imports."""

    default_site = "peerloans.admin.site.StaffSite"
