"""Check what is asked, and describe the answers in the schema. `views.render` and `area_views.py` render them."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from cbsa.rules import Kind
from peerloans.api.strict_fields import StrictSerializer

ZIPS_LIMIT = 1_000
LARGEST_ZIP = 99_999
ZIP_KINDS = [kind.value for kind in Kind if kind is not Kind.DIVISION]
KIND_HELP = "`none`: HUD says that it lies in no CBSA. `absent`: in a CBSA that the census file lacks, as Puerto Rico's often are."


@extend_schema_field({"oneOf": [{"type": "string"}, {"type": "integer"}]})
class ZipField(serializers.CharField):
    """The text of a ZIP. A whole number stands for its five digits, since JSON's numbers have no leading zeros."""

    def to_internal_value(self, data: Any) -> str:
        if type(data) is int and 0 <= data <= LARGEST_ZIP:
            return f"{data:05}"
        return super().to_internal_value(data)


class ZipListSerializer(StrictSerializer):
    """The ZIPs that are asked for."""

    zips = serializers.ListField(
        child=ZipField(), max_length=ZIPS_LIMIT, help_text="Five digits each, ZIP+4, or whole numbers; answered in this order."
    )


class DatasetSerializer(serializers.Serializer):
    """The dataset that an answer comes from."""

    vintage = serializers.CharField(help_text="The label of the dataset.")
    imported_at = serializers.DateTimeField()


class MatchSerializer(serializers.Serializer):
    """The share of a ZIP's addresses that lies in one CBSA, of all, residential, business and other ones."""

    cbsa = serializers.CharField()
    tot_ratio = serializers.FloatField(min_value=0, max_value=1)
    res_ratio = serializers.FloatField(min_value=0, max_value=1)
    bus_ratio = serializers.FloatField(min_value=0, max_value=1)
    oth_ratio = serializers.FloatField(min_value=0, max_value=1)


class ZipAnswerSerializer(serializers.Serializer):
    zip = serializers.CharField()
    cbsa = serializers.CharField(help_text="The code chosen for the ZIP; 99999 where it lies in no CBSA.")
    effective_cbsa = serializers.CharField(help_text="The same, or the CBSA of which it is a metropolitan division.")
    kind = serializers.ChoiceField(ZIP_KINDS, help_text=f"The kind of its area, and so why `msa` is null. {KIND_HELP}")
    msa = serializers.CharField(allow_null=True, help_text="The metropolitan statistical area's name; null where there is none.")
    population = serializers.DictField(child=serializers.IntegerField(), help_text="Estimates by year; empty without an MSA.")
    growth_percent = serializers.FloatField(allow_null=True, help_text="From the year before to the latest year.")
    matches = MatchSerializer(many=True)
    vintage = serializers.CharField(help_text="The label of the dataset.")
    imported_at = serializers.DateTimeField()


class ZipErrorSerializer(serializers.Serializer):
    zip = serializers.CharField()
    error = serializers.ChoiceField(["unknown_zip", "invalid_zip"])


class VintageSerializer(DatasetSerializer):
    in_use = serializers.BooleanField(help_text="Whether answers come from it where no vintage is asked for.")
    latest_year = serializers.IntegerField(allow_null=True, help_text="The latest year of its population estimates.")
    zips = serializers.IntegerField()


class VintagesSerializer(serializers.Serializer):
    results = VintageSerializer(many=True)


class ChangeSerializer(serializers.Serializer):
    before = serializers.CharField(allow_null=True)
    after = serializers.CharField(allow_null=True)


class VintageOfZipSerializer(DatasetSerializer):
    in_use = serializers.BooleanField()
    answer = ZipAnswerSerializer(allow_null=True, help_text="Null where this vintage lacks the ZIP.")
    changes = serializers.DictField(
        child=ChangeSerializer(), help_text="What differs from the vintage before: `kind`, `cbsa`, `effective_cbsa` or `msa`."
    )


class ZipHistorySerializer(serializers.Serializer):
    zip = serializers.CharField()
    results = VintageOfZipSerializer(many=True, help_text="The earliest data first.")


class ParentSerializer(serializers.Serializer):
    cbsa = serializers.CharField()
    name = serializers.CharField()


class DivisionSerializer(ParentSerializer):
    population = serializers.DictField(child=serializers.IntegerField())


class CountySerializer(serializers.Serializer):
    fips = serializers.CharField(help_text="The five digits of state and county.")
    name = serializers.CharField()
    division = serializers.CharField(allow_null=True, help_text="The division that it lies in.")
    population = serializers.DictField(child=serializers.IntegerField())


class AreaSerializer(serializers.Serializer):
    cbsa = serializers.CharField(help_text="The code of the CBSA, or of the metropolitan division.")
    name = serializers.CharField(allow_null=True, help_text="Null where the census file lacks the CBSA.")
    kind = serializers.ChoiceField(["metropolitan", "micropolitan", "division", "absent"])
    parent = ParentSerializer(allow_null=True, help_text="The CBSA of a division.")
    population = serializers.DictField(child=serializers.IntegerField(), help_text="Estimates by year.")
    growth_percent = serializers.FloatField(allow_null=True, help_text="From the year before to the latest year.")
    divisions = DivisionSerializer(many=True)
    counties = CountySerializer(many=True)
    zips = serializers.IntegerField(help_text="How many ZIPs the rule places here.")
    vintage = serializers.CharField()
    imported_at = serializers.DateTimeField()


class AreaZipSerializer(serializers.Serializer):
    """A ZIP, and how much of its addresses lies in the area."""

    zip = serializers.CharField()
    cbsa = serializers.CharField(help_text="The code chosen for the ZIP.")
    effective_cbsa = serializers.CharField(help_text="The CBSA in which the rule places the ZIP.")
    tot_ratio = serializers.FloatField(min_value=0, max_value=1)
    res_ratio = serializers.FloatField(min_value=0, max_value=1)
    bus_ratio = serializers.FloatField(min_value=0, max_value=1)
    oth_ratio = serializers.FloatField(min_value=0, max_value=1)


class AreaFoundSerializer(ParentSerializer):
    kind = serializers.ChoiceField(["metropolitan", "micropolitan"])
    latest_population = serializers.IntegerField(allow_null=True)
    zips = serializers.IntegerField()
    matched = serializers.CharField(help_text="The name that matched: its own, or that of one of its divisions or counties.")


class AreaSearchSerializer(serializers.Serializer):
    count = serializers.IntegerField(help_text="How many CBSAs match; at most 20 of them are answered.")
    ambiguous = serializers.BooleanField(help_text="Whether several match equally well.")
    results = AreaFoundSerializer(many=True, help_text="The best match first, the largest first among equals.")
    vintage = serializers.CharField()
    imported_at = serializers.DateTimeField()
