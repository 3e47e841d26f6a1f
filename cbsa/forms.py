"""What must staff fill in for ZIP data? Two files or addresses and a label; before a change, a reason."""

from typing import Any

from django import forms

from cbsa.imports.requests import UPLOAD_BYTES
from peerloans import safe_http
from peerloans.admin.forms import ReasonForm

KINDS = {"zips": "HUD's crosswalk", "metros": "Census estimates"}


class AskForm(forms.Form):
    """Each of the two: a file or an address."""

    vintage = forms.CharField(label="Label", max_length=50, help_text="The name of this pair, such as 2015 or 2023q3.")
    zips_file = forms.FileField(label="HUD's crosswalk: file", required=False, max_length=100, help_text="CSV, .xlsx, .gz or .zip.")
    zips_address = forms.CharField(label="or its address", required=False, max_length=500, widget=forms.URLInput(attrs={"size": 60}))
    metros_file = forms.FileField(label="Census estimates: file", required=False, max_length=100, help_text="CBSA-EST…-alldata, CSV.")
    metros_address = forms.CharField(label="or its address", required=False, max_length=500, widget=forms.URLInput(attrs={"size": 60}))

    def clean(self) -> dict[str, Any]:
        for kind in KINDS:
            file, address = self.cleaned_data.get(f"{kind}_file"), self.cleaned_data.get(f"{kind}_address")
            if f"{kind}_file" in self.errors or f"{kind}_address" in self.errors:
                continue
            if bool(file) == bool(address):
                self.add_error(f"{kind}_file", "Choose a file or write an address, one of the two.")
            elif file and (file.size > UPLOAD_BYTES or not file.name.isprintable()):
                self.add_error(f"{kind}_file", f"A file has at most {UPLOAD_BYTES // 2**20} MiB and a plain name. Compress it.")
            elif address:
                try:
                    safe_http.parse_url(address)
                except safe_http.Refused as error:
                    self.add_error(f"{kind}_address", str(error))
        return self.cleaned_data

    def sources(self) -> dict[str, str | tuple[str, bytes]]:
        """What the service takes, of a valid form."""
        given = self.cleaned_data
        return {kind: given[f"{kind}_address"] or (given[f"{kind}_file"].name, given[f"{kind}_file"].read()) for kind in KINDS}


class UseForm(ReasonForm):
    """Why another dataset comes into use, and which was seen there."""

    seen = forms.CharField(required=False, widget=forms.HiddenInput)
    force = forms.BooleanField(label="Lose more than a tenth of the ZIPs", required=False)


class PruneForm(ReasonForm):
    """How many datasets stay beside the one in use."""

    keep = forms.IntegerField(min_value=0, max_value=100, initial=3, help_text="The newest stay, and the one in use.")
