"""As Support and as an auditor, filter and sort every list of the admin by what no page shows: secrets, hashes of passwords, seeds."""

from tests.attack.browser import Browser
from tests.attack.site import PASSWORD, Result, Site

TITLE = "Support and Auditors filter and sort the admin's lists by secrets"
PATHS = (
    "webhookendpoint/?secret__regex=^whsec_a",
    "webhookendpoint/?secret__startswith=whsec_",
    "webhookendpoint/?o=secret",
    "delivery/?endpoint__secret__regex=^w",
    "investor/?webhook_endpoints__secret__regex=^w",
    "investor/?user__password__startswith=pbkdf2",
    "reservation/?investor__user__password__regex=^p",
    "reservation/?investor__webhook_endpoints__secret__gte=whsec_m",
    "transition/?user__password__regex=^p",
    "transfer/?reservation__investor__user__email__startswith=i",
    "loan/?lottery_seed__regex=^0",
    "reviewitem/?owner__password__regex=^p",
)


def prepare(site: Site) -> None:
    from loans.models import Investor, WebhookEndpoint

    WebhookEndpoint.objects.create(investor=Investor.objects.earliest("pk"), url="https://hooks.example.org/peerloans")


def attack(site: Site) -> Result:
    from loans.models import User, WebhookEndpoint

    result = Result(0)
    secrets = [*WebhookEndpoint.objects.values_list("secret", flat=True), *User.objects.values_list("password", flat=True)]
    for number, name in enumerate(("sue", "ada")):
        browser = Browser(site, name, PASSWORD, f"203.0.113.{200 + number}")
        for path in PATHS:
            result.times += 1
            page = browser.get(f"/admin/loans/{path}")
            # An order by an unknown column is ignored.
            refused = page.status in ({200, 302, 400, 403} if path.endswith("?o=secret") else {400, 403, 404})
            if not refused:
                result.broken.append(f"{name} was answered {page.status} for {path}")
            if any(secret and secret in page.text for secret in secrets):
                result.broken.append(f"{name} read a secret by {path}")
        for prefix in {secret[:12] for secret in secrets if secret}:
            result.times += 1
            if "/change/" in browser.get(f"/admin/loans/webhookendpoint/?q={prefix}").text.split('id="result_list"')[-1]:
                result.broken.append(f"{name} found a row by a part of its secret")
    return result
