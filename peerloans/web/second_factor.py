"""Check a second factor at login: a code from a phone (TOTP, RFC 6238), or one of ten recovery codes."""

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
WRONG_CODE = "This code is not valid now. Wait for the next code, and check that the clock of the phone is right."


def is_set_up(user: Any) -> bool:
    return bool(TOTPDevice.objects.filter(user=user, confirmed=True).exists())


def is_satisfied(user: Any) -> bool:
    """Return whether the signed-in user has shown a second factor, or needs none."""
    return user.is_verified() or not (settings.SECOND_FACTOR_REQUIRED or is_set_up(user))


def check_code(user: Any, code: str) -> Device | None:
    """Return the device that the code belongs to; None if the user has not set up a second factor.

    Raises ValidationError if the code is missing or wrong. After each failure the user must wait longer.
    """
    if not is_set_up(user):
        return None
    if not code:
        raise ValidationError("This account also asks for a code: one from your phone, or a recovery code.", code="code")
    device_model: type[Device] = TOTPDevice if code.isdecimal() else StaticDevice
    with transaction.atomic():
        device = device_model.objects.select_for_update().filter(user=user, confirmed=True).first()
        is_valid = device is not None and device.verify_is_allowed()[0] and device.verify_token(code)
    if not is_valid:
        raise ValidationError(f"{WRONG_CODE} After several wrong codes there is a wait, which doubles each time.", code="code")
    return device


def unconfirmed_device(user: Any) -> TOTPDevice:
    """Return the user's phone that is being set up and has not shown a code yet."""
    device: TOTPDevice = TOTPDevice.objects.get_or_create(user=user, confirmed=False, defaults={"name": "phone"})[0]
    return device


def qr_code(device: TOTPDevice) -> SafeString:
    """Return the picture that an authenticator app scans, as SVG."""
    return mark_safe(segno.make(device.config_url).svg_inline(scale=5, border=3, light="#fff", dark="#000"))  # noqa: S308


@transaction.atomic
def confirm(user: Any, code: str) -> tuple[TOTPDevice, list[str]]:
    """Put the user's new phone into use in place of the old one; return it and its new recovery codes.

    The recovery codes cannot be read again later. Raises ValidationError if the code is not the phone's.
    """
    device = unconfirmed_device(user)
    if not device.verify_token(code):
        raise ValidationError(WRONG_CODE)
    remove(user)
    device.confirmed = True
    device.save()
    recovery_device = StaticDevice.objects.create(user=user, name="recovery codes")
    recovery_codes = [StaticToken.random_token() for _ in range(RECOVERY_CODES)]
    StaticToken.objects.bulk_create([StaticToken(device=recovery_device, token=code) for code in recovery_codes])
    return device, recovery_codes


def remove(user: Any) -> None:
    """Remove the user's second factor. The password alone is enough until another is set up."""
    TOTPDevice.objects.filter(user=user, confirmed=True).delete()
    StaticDevice.objects.filter(user=user).delete()
