"""Check what staff enter to import ZIP data, to bring a dataset into use and to delete old ones."""

from typing import Any

from django import forms

from cbsa.imports.requests import KINDS, UPLOAD_BYTES
from peerloans import safe_http
from peerloans.admin.forms import ReasonForm

OPTIONAL = "more_metros"
MOST_NAME_BYTES = 255  # of a file's name on Linux, where the worker writes the upload


class ImportForm(forms.Form):
    """A label and two sources or three, each a file or an address."""

    vintage = forms.CharField(label="Label", max_length=50, help_text="The name of this pair, such as 2015 or 2023q3.")
    zips_file = forms.FileField(label="HUD's crosswalk: file", required=False, max_length=100, help_text="CSV, .xlsx, .gz or .zip.")
    zips_address = forms.CharField(label="or its address", required=False, max_length=500, widget=forms.URLInput(attrs={"size": 60}))
    metros_file = forms.FileField(label="Census estimates: file", required=False, max_length=100, help_text="CBSA-EST…-alldata, CSV.")
    metros_address = forms.CharField(label="or its address", required=False, max_length=500, widget=forms.URLInput(attrs={"size": 60}))
    more_metros_file = forms.FileField(
        label="Second census file",
        required=False,
        max_length=100,
        help_text="If there is one: Puerto Rico’s estimates are published apart.",
    )
    more_metros_address = forms.CharField(label="or its address", required=False, max_length=500, widget=forms.URLInput(attrs={"size": 60}))

    def clean(self) -> dict[str, Any]:
        for kind in KINDS:
            file, address = self.cleaned_data.get(f"{kind}_file"), self.cleaned_data.get(f"{kind}_address")
            if f"{kind}_file" in self.errors or f"{kind}_address" in self.errors:
                continue
            if bool(file) == bool(address) and (file or kind != OPTIONAL):
                self.add_error(f"{kind}_file", "Choose a file or write an address, one of the two.")
            elif file and (file.size > UPLOAD_BYTES or not _is_plain(file.name)):
                self.add_error(f"{kind}_file", f"A file has at most {UPLOAD_BYTES // 2**20} MiB and a plain name. Compress it.")
            elif address:
                try:
                    safe_http.parse_url(address)
                except safe_http.Refused as error:
                    self.add_error(f"{kind}_address", str(error))
        return self.cleaned_data

    def sources(self) -> dict[str, str | tuple[str, bytes]]:
        """Return the sources of a valid form as `create_request` takes them."""
        sources: dict[str, str | tuple[str, bytes]] = {}
        for kind in KINDS:
            file, address = self.cleaned_data[f"{kind}_file"], self.cleaned_data[f"{kind}_address"]
            if file or address:
                sources[kind] = address or (file.name, file.read())
        return sources


def _is_plain(name: str) -> bool:
    return name.isprintable() and len(name.encode()) <= MOST_NAME_BYTES


class ActivateForm(ReasonForm):
    """Why another dataset comes into use, and which one the page showed in use."""

    expected_in_use = forms.CharField(required=False, widget=forms.HiddenInput)
    force = forms.BooleanField(label="Lose or move these ZIPs", required=False)


class PruneForm(ReasonForm):
    """How many datasets to keep beside the one in use."""

    keep = forms.IntegerField(min_value=0, max_value=100, initial=3, help_text="The newest stay, and the one in use.")
