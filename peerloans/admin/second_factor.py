"""Is it really them? Beside the password, a code from their phone (TOTP, RFC 6238), or one of ten recovery codes."""

from typing import Any

import segno
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.safestring import SafeString, mark_safe
from django_otp.models import Device
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

RECOVERY_CODES = 10
WRONG = "This code is not the present one. Wait for the next, and see that the phone's clock is right."


def is_set_up(user: Any) -> bool:
    return bool(TOTPDevice.objects.filter(user=user, confirmed=True).exists())


def is_enough(user: Any) -> bool:
    """Whether this log-in shows all that is asked of the user."""
    return user.is_verified() or not (settings.SECOND_FACTOR_REQUIRED or is_set_up(user))


def check(user: Any, code: str) -> Device | None:
    """The device that the code is of; None where the user has none. Raises ValidationError. Each failure lengthens the wait."""
    if not is_set_up(user):
        return None
    if not code:
        raise ValidationError("Your account asks for a code, too: from your phone, or a recovery code.", code="code")
    kind: type[Device] = TOTPDevice if code.isdecimal() else StaticDevice
    with transaction.atomic():
        device = kind.objects.select_for_update().filter(user=user, confirmed=True).first()
        verified = device is not None and device.verify_is_allowed()[0] and device.verify_token(code)
    if not verified:
        raise ValidationError(f"{WRONG} After several wrong codes there is a wait that doubles each time.", code="code")
    return device


def begun(user: Any) -> TOTPDevice:
    """The user's device that waits for its first code."""
    device: TOTPDevice = TOTPDevice.objects.get_or_create(user=user, confirmed=False, defaults={"name": "phone"})[0]
    return device


def picture(device: TOTPDevice) -> SafeString:
    """What the phone's camera reads, as SVG."""
    return mark_safe(segno.make(device.config_url).svg_inline(scale=5, border=3, light="#fff", dark="#000"))  # noqa: S308


@transaction.atomic
def confirm(user: Any, code: str) -> tuple[TOTPDevice, list[str]]:
    """Take the waiting device into use; returns it and new recovery codes, which are told once. Raises ValidationError."""
    device = begun(user)
    if not device.verify_token(code):
        raise ValidationError(WRONG)
    remove(user)
    device.confirmed = True
    device.save()
    recovery = StaticDevice.objects.create(user=user, name="recovery codes")
    codes = [StaticToken.random_token() for _ in range(RECOVERY_CODES)]
    StaticToken.objects.bulk_create([StaticToken(device=recovery, token=each) for each in codes])
    return device, codes


def remove(user: Any) -> None:
    """From now on the password is enough, until the user sets up another."""
    TOTPDevice.objects.filter(user=user, confirmed=True).delete()
    StaticDevice.objects.filter(user=user).delete()
