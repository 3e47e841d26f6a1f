"""Which admin is it? The one that peerloans/admin/site.py guards."""

from django.contrib.admin.apps import SimpleAdminConfig


class StaffConfig(SimpleAdminConfig):
    """Its pages are found with the addresses (peerloans/urls.py), so that no command waits for what only they import."""

    default_site = "peerloans.admin.site.StaffSite"
