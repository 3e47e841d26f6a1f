"""What waits for staff, on the first page of the admin?"""

from django import template

from loans.models import Case

register = template.Library()


@register.simple_tag
def open_cases() -> int:
    return Case.objects.filter(closed_at=None).count()
