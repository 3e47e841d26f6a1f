"""Which admin is it? The one that peerloans/staff_site.py guards."""

from django.contrib.admin.apps import AdminConfig


class StaffConfig(AdminConfig):
    default_site = "peerloans.staff_site.StaffSite"
