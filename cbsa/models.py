"""Keep each imported pair of files as a dataset of its own. Datasets stand side by side, and one of them is in use."""

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVector
from django.db import models
from django.db.models import Q

from cbsa.rules import METROPOLITAN, MICROPOLITAN


class Dataset(models.Model):
    """One pair of files as loaded. `vintage` is the label that staff chose for it."""

    vintage = models.CharField(max_length=50, unique=True)
    active = models.BooleanField("in use", default=False)
    imported_at = models.DateTimeField(auto_now_add=True)
    zips_sha256 = models.CharField("ZIP file's SHA-256", max_length=64)
    metros_sha256 = models.CharField("census file's SHA-256", max_length=64)
    zips = models.PositiveIntegerField("ZIPs", default=0)
    latest_year = models.PositiveSmallIntegerField("latest year of the estimates", null=True)

    class Meta:
        ordering = ["-imported_at", "-id"]
        constraints = [models.UniqueConstraint(fields=["active"], condition=Q(active=True), name="one_active_dataset")]
        permissions = [("activate_dataset", "Can bring a dataset into use"), ("prune_dataset", "Can delete old datasets")]

    def __str__(self) -> str:
        return self.vintage

    @property
    def version(self) -> str:
        """Return what names the dataset in an ETag; other files under the same label have another."""
        return f"{self.pk}-{self.zips_sha256[:8]}-{self.metros_sha256[:8]}"


class Area(models.Model):
    """One row of the census file: a CBSA, a metropolitan division or a county, with its population by year."""

    dataset = models.ForeignKey(Dataset, models.CASCADE, db_index=False)
    cbsa = models.CharField("CBSA", max_length=5)
    mdiv = models.CharField("division", max_length=5, blank=True)
    stcou = models.CharField("county", max_length=5, blank=True)
    name = models.CharField(max_length=100)
    lsad = models.CharField("kind", max_length=100)
    population = models.JSONField()
    people = models.BigIntegerField("people by the latest estimate", null=True)
    zips = models.PositiveIntegerField("ZIPs of a CBSA or a division", default=0)
    search_text = models.TextField(editable=False)

    class Meta:
        ordering = ["dataset", "cbsa", "mdiv", "stcou"]
        indexes = [
            models.Index(fields=["dataset", "cbsa"], name="area_by_code"),
            models.Index(fields=["dataset", "mdiv"], condition=~Q(mdiv=""), name="area_by_division"),
            GinIndex(SearchVector("search_text", config="simple"), name="area_by_word", fastupdate=False),
        ]
        constraints = [
            models.UniqueConstraint(fields=["dataset", "cbsa"], condition=Q(lsad__in=[METROPOLITAN, MICROPOLITAN]), name="one_row_per_cbsa")
        ]

    def __str__(self) -> str:
        return self.name


class ZipShare(models.Model):
    """One row of HUD's file: the share of a ZIP's addresses, from 0 to 1, that lies in one CBSA."""

    pk = models.CompositePrimaryKey("dataset_id", "zip", "cbsa")
    dataset = models.ForeignKey(Dataset, models.CASCADE, db_index=False)
    zip = models.CharField("ZIP", max_length=5)
    cbsa = models.CharField("CBSA", max_length=5)
    tot_ratio = models.FloatField()
    res_ratio = models.FloatField()
    bus_ratio = models.FloatField()
    oth_ratio = models.FloatField()

    class Meta:
        indexes = [models.Index(fields=["dataset", "cbsa"], name="share_by_cbsa")]

    def __str__(self) -> str:
        return f"{self.zip} in {self.cbsa}"


class Zip(models.Model):
    """What the rule says of one ZIP. The import works it out, so that a read decides nothing."""

    dataset = models.ForeignKey(Dataset, models.CASCADE, db_index=False)
    zip = models.CharField("ZIP", max_length=5)
    cbsa = models.CharField("CBSA chosen", max_length=5)
    effective_cbsa = models.CharField("effective CBSA", max_length=5)
    # The CBSA's own row. Areas are deleted only with their dataset, and its ZIPs with them.
    area = models.ForeignKey(Area, models.DO_NOTHING, null=True)

    class Meta:
        verbose_name = "ZIP"
        verbose_name_plural = "ZIPs"
        ordering = ["dataset", "zip"]
        constraints = [models.UniqueConstraint(fields=["dataset", "zip"], name="one_answer_per_zip")]

    def __str__(self) -> str:
        return self.zip


class ImportRun(models.Model):
    """What one run of the import did. It is kept when the import was refused, and when its dataset is deleted."""

    class Outcome(models.TextChoices):
        IMPORTED = "imported"
        LOADED = "loaded"
        ACTIVATED = "activated"
        UNCHANGED = "unchanged"
        CHECKED = "checked"
        REFUSED = "refused"

    vintage = models.CharField(max_length=50)
    dataset = models.ForeignKey(Dataset, models.SET_NULL, null=True, related_name="runs")
    outcome = models.CharField(max_length=10, choices=Outcome.choices)
    detail = models.TextField(blank=True)
    actor = models.CharField("by", max_length=150)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    files = models.JSONField(default=dict)
    counts = models.JSONField(default=dict)
    rejects = models.JSONField(default=list)
    absent = models.JSONField("CBSAs that the census file lacks", default=dict)
    left_out = models.JSONField("ZIPs left out, because of bad rows", default=list)
    warnings = models.JSONField(default=list)
    changes = models.JSONField("what changed against the data in use", default=dict)

    class Meta:
        verbose_name = "import"
        ordering = ["-started_at", "-id"]

    def __str__(self) -> str:
        return f"{self.vintage}: {self.outcome}"


class ImportRequest(models.Model):
    """An import that staff requested. The worker that runs it holds a lease and renews it with its progress."""

    class State(models.TextChoices):
        WAITING = "waiting"
        RUNNING = "running"
        LOADED = "loaded"
        REFUSED = "refused"
        FAILED = "failed"
        CANCELED = "canceled"

    vintage = models.CharField("label", max_length=50)
    zips = models.CharField("HUD's crosswalk", max_length=500)
    metros = models.CharField("census estimates", max_length=500)
    more_metros = models.CharField("second file of census estimates", max_length=500, blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    progress = models.CharField(max_length=600, blank=True)
    detail = models.TextField(blank=True)
    dataset = models.ForeignKey(Dataset, models.SET_NULL, null=True, related_name="requests")
    report = models.JSONField(default=dict)
    actor = models.CharField("by", max_length=150)
    requested_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)
    lease = models.UUIDField(null=True)
    leased_until = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)

    class Meta:
        verbose_name = "import request"
        ordering = ["-requested_at", "-id"]
        default_permissions = ["view", "add"]

    def __str__(self) -> str:
        return f"{self.vintage}: {self.state}"


class Upload(models.Model):
    """The bytes of one file that staff uploaded. They are deleted when its request ends."""

    request = models.ForeignKey(ImportRequest, models.CASCADE, related_name="uploads")
    kind = models.CharField(max_length=11)
    content = models.BinaryField()

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["request", "kind"], name="one_upload_per_kind")]

    def __str__(self) -> str:
        return self.kind
