"""Check what is asked, and describe the answers in the schema. `views.render` renders them."""

from rest_framework import serializers

from peerloans.api.strict_fields import StrictSerializer

ZIPS_LIMIT = 1_000


class ZipsSerializer(StrictSerializer):
    zips = serializers.ListField(
        child=serializers.CharField(), max_length=ZIPS_LIMIT, help_text="Five digits each, or ZIP+4; answered in this order."
    )


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
    msa = serializers.CharField(allow_null=True, help_text="The metropolitan statistical area's name; null where there is none.")
    population = serializers.DictField(child=serializers.IntegerField(), help_text="Estimates by year; empty without an MSA.")
    growth_percent = serializers.FloatField(allow_null=True, help_text="From the year before to the latest year.")
    matches = MatchSerializer(many=True)
    vintage = serializers.CharField(help_text="The label of the dataset.")


class UnknownZipSerializer(serializers.Serializer):
    zip = serializers.CharField()
    error = serializers.ChoiceField(["unknown_zip"])
