"""Send an invitation to the back office to a colleague."""

from django.core.mail import EmailMessage
from django.template.loader import render_to_string

from loans.models import User


def send_invitation(invited: User, *, by: User, address: str) -> None:
    """Send the address of the page on which the colleague chooses a password. Raises what the mail server's refusal raises.

    The errors are OSError, of which SMTPException is a kind.
    """
    context = {"invited": invited, "by": by.get_full_name() or by.get_username(), "address": address}
    EmailMessage(
        subject="Your account in the back office of peerloans",
        body=render_to_string("loans/email/staff_invitation.txt", context),
        to=[invited.email],
    ).send()
