"""Data sets, training runs and comparisons: the jobs of the training worker, and their results."""

from __future__ import annotations

from pathlib import Path

from django.db import models
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from patchvote.jobs.models import Job
from patchvote.jobs.supervised import SupervisedJob
from patchvote.registry.models import ModelVersion
from trainer.worker.protocol import LOG_FILE


class Source(models.TextChoices):
    """The source of a data set's images."""

    ARCHIVE = "archive", _("uploaded zip")
    FOLDER = "folder", _("folder on the server")
    REVIEWS = "reviews", _("reviewed cases")


class DataSet(SupervisedJob):
    """Labelled images, and the job that checks them. A data set never changes: new images make a new version."""

    FOLDER = "data-sets"
    LOG_FILE = LOG_FILE

    name = models.CharField(_("name"), max_length=80)
    version = models.PositiveIntegerField(_("version"), editable=False, help_text=_("Counts up for each name."))
    description = models.TextField(_("description"), blank=True, max_length=2000)
    source = models.CharField(_("source"), max_length=10, choices=Source)
    origin = models.CharField(
        _("origin"), max_length=500, blank=True, editable=False, help_text=_("The name of the zip, or the folder.")
    )
    selection = models.JSONField(
        _("selection"), default=dict, editable=False, help_text=_("Which reviewed cases were taken.")
    )
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)
    fingerprint = models.CharField(_("fingerprint"), max_length=64, blank=True, editable=False)
    image_count = models.PositiveIntegerField(_("images"), default=0, editable=False)
    patient_count = models.PositiveIntegerField(_("patients"), default=0, editable=False)
    size_in_bytes = models.PositiveBigIntegerField(_("size"), default=0, editable=False)
    synthetic = models.BooleanField(_("synthetic"), default=False, editable=False)
    notes = models.JSONField(_("notes"), default=list, editable=False)

    class Meta:
        ordering = ["-created_at"]
        verbose_name = _("data set")
        verbose_name_plural = _("data sets")
        constraints = [models.UniqueConstraint(fields=["name", "version"], name="one_of_each_data_set_version")]
        indexes = Job.indexes("dataset")

    def __str__(self) -> str:
        return f"{self.name} v{self.version}"

    def get_absolute_url(self) -> str:
        """Return the URL of the admin page."""
        return reverse("admin:training_dataset_change", args=[self.pk])

    @property
    def root(self) -> Path:
        """The folder that holds the images."""
        return Path(self.origin) if self.source == Source.FOLDER else self.folder / "images"

    @property
    def archive(self) -> Path:
        """The path of the uploaded zip, which is deleted after the check."""
        return self.folder / "upload.zip"


class DataSetImage(models.Model):
    """An image of a checked data set. No two images of a data set have equal pixels."""

    LENGTHS = {"path": 500, "patient": 100, "subtype": 60}
    """The maximum lengths of texts that users provide, in characters."""

    data_set = models.ForeignKey(DataSet, on_delete=models.CASCADE, related_name="images", verbose_name=_("data set"))
    path = models.CharField(_("path"), max_length=LENGTHS["path"], help_text=_("Below the data set's folder."))
    sha256 = models.CharField(_("SHA-256 of the pixels"), max_length=64)
    label = models.CharField(_("label"), max_length=10)
    patient = models.CharField(_("patient"), max_length=LENGTHS["patient"])
    subtype = models.CharField(_("subtype"), max_length=LENGTHS["subtype"], blank=True)
    magnification = models.CharField(_("magnification"), max_length=4, blank=True)
    whole = models.BooleanField(_("whole"), default=True, help_text=_("Not a crop of a micrograph."))
    width = models.PositiveIntegerField(_("width"))
    height = models.PositiveIntegerField(_("height"))

    class Meta:
        ordering = ["patient", "path"]
        verbose_name = _("image of a data set")
        verbose_name_plural = _("images of data sets")
        constraints = [models.UniqueConstraint(fields=["data_set", "sha256"], name="one_of_each_picture")]
        indexes = [models.Index("sha256", name="datasetimage_sha256")]

    def __str__(self) -> str:
        return self.path


class TrainingRun(SupervisedJob):
    """A training with its evaluation: a study of one candidate, then a bundle trained on all images."""

    FOLDER = "runs"
    LOG_FILE = LOG_FILE

    data_set = models.ForeignKey(DataSet, on_delete=models.PROTECT, related_name="runs", verbose_name=_("data set"))
    name = models.CharField(
        _("model"), max_length=64, help_text=_("A successful run becomes the next version of the model of this name.")
    )
    options = models.JSONField(_("options"), editable=False, help_text=_("All of `trainer.options.FitOptions`."))
    note = models.TextField(_("note"), blank=True, max_length=2000)
    estimated_seconds = models.PositiveIntegerField(_("estimated seconds"), null=True, editable=False)
    fold_count = models.PositiveSmallIntegerField(_("folds"), null=True, editable=False)
    metrics = models.JSONField(_("metrics"), default=dict, editable=False)
    notes = models.JSONField(_("notes"), default=list, editable=False)
    seconds = models.FloatField(_("seconds"), null=True, editable=False)
    model_version = models.ForeignKey(
        ModelVersion, null=True, editable=False, on_delete=models.PROTECT, related_name="runs",
        verbose_name=_("model version"),
    )  # fmt: skip

    class Meta:
        ordering = ["-queued_at"]
        verbose_name = _("training run")
        verbose_name_plural = _("training runs")
        indexes = Job.indexes("trainingrun")

    def __str__(self) -> str:
        return f"{self.name} · {timezone.localtime(self.queued_at):%Y-%m-%d %H:%M}"

    def get_absolute_url(self) -> str:
        """Return the URL of the admin page."""
        return reverse("admin:training_trainingrun_change", args=[self.pk])

    @property
    def report(self) -> Path:
        """The path of the study's report; the file exists once the run has succeeded."""
        return self.folder / "report.html"


class PatchMetrics(models.Model):
    """Accuracy and mean loss of patches; see `trainer.schemas.PatchMetrics`."""

    training_accuracy = models.FloatField(_("training accuracy"))
    training_loss = models.FloatField(_("training loss"))
    validation_accuracy = models.FloatField(_("validation accuracy"), null=True)
    validation_loss = models.FloatField(_("validation loss"), null=True)

    class Meta:
        abstract = True


class RunFold(PatchMetrics):
    """The metrics of one fold of a run."""

    run = models.ForeignKey(TrainingRun, on_delete=models.CASCADE, related_name="folds", verbose_name=_("training run"))
    number = models.PositiveSmallIntegerField(_("fold"), help_text=_("Counted from 0."))
    name = models.CharField(_("name"), max_length=100)
    test_accuracy = models.FloatField(_("test accuracy"))
    test_loss = models.FloatField(_("test loss"))
    best_epoch = models.PositiveSmallIntegerField(_("best epoch"), null=True)
    seconds = models.FloatField(_("seconds"))

    class Meta:
        ordering = ["run", "number"]
        verbose_name = _("fold")
        verbose_name_plural = _("folds")
        constraints = [models.UniqueConstraint(fields=["run", "number"], name="one_of_each_fold")]

    def __str__(self) -> str:
        return self.name


class RunEpoch(PatchMetrics):
    """The metrics of one epoch of a fold; the fold number after the last fold is the fit on all images."""

    run = models.ForeignKey(
        TrainingRun, on_delete=models.CASCADE, related_name="epochs", verbose_name=_("training run")
    )
    fold = models.PositiveSmallIntegerField(_("fold"), help_text=_("Counted from 0."))
    number = models.PositiveSmallIntegerField(_("epoch"), help_text=_("Counted from 1."))

    class Meta:
        ordering = ["run", "fold", "number"]
        verbose_name = _("epoch")
        verbose_name_plural = _("epochs")
        constraints = [models.UniqueConstraint(fields=["run", "fold", "number"], name="one_of_each_epoch")]

    def __str__(self) -> str:
        return f"{self.fold + 1}/{self.number}"


class Comparison(SupervisedJob):
    """A comparison of two model versions on labelled images of patients that neither was trained on."""

    FOLDER = "comparisons"
    LOG_FILE = LOG_FILE

    candidate = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, related_name="comparisons", verbose_name=_("candidate")
    )
    champion = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, related_name="defences", verbose_name=_("champion")
    )
    data_sets = models.ManyToManyField(DataSet, related_name="comparisons", verbose_name=_("data sets"))
    result = models.JSONField(_("result"), default=dict, editable=False)
    notes = models.JSONField(_("notes"), default=list, editable=False)

    class Meta:
        ordering = ["-queued_at"]
        verbose_name = _("comparison")
        verbose_name_plural = _("comparisons")
        indexes = Job.indexes("comparison")

    def __str__(self) -> str:
        return f"{self.candidate} · {self.champion}"

    def get_absolute_url(self) -> str:
        """Return the URL of the page that compares and promotes the candidate."""
        return reverse("admin:training_promote", args=[self.candidate_id])
