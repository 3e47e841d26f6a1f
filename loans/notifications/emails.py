"""Send a message to an investor's mailbox.

Which events are announced, and the subject of each e-mail, stand in loans/notifications/messages.py; the texts in templates/loans/email/.
"""

from django.conf import settings
from django.core.mail import EmailMessage
from django.template.loader import render_to_string

from loans.models import Delivery
from loans.notifications.messages import message_data, message_id, message_of


def send(delivery: Delivery) -> None:
    """Make one attempt to send the e-mail. Raises whatever the mail server's refusal raises (OSError, SMTPException).

    Every attempt carries the same Message-ID, so that a mailbox can recognize a repeat.
    """
    message, subject = message_of(delivery.announced), delivery.subject
    loan, investor = subject.loan, delivery.investor
    context = message_data(delivery.announced, subject) | {"why": message.why, "investor": investor.name, "title": loan.title}
    sender_domain = settings.DEFAULT_FROM_EMAIL.rpartition("@")[2].strip(">")
    EmailMessage(
        subject=message.subject.format(loan=loan.reference),
        body=render_to_string(f"loans/email/{message.template}.txt", context),
        to=[investor.user.email],
        headers={"Message-ID": f"<{message_id(delivery.announced)}@{sender_domain}>"},
    ).send()
