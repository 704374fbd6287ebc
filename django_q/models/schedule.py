"""Schedule: a function that is to run later, once or again and again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, router
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from django_q import clock, recurrence
from django_q.allowed import check_path
from django_q.exceptions import TaskNotAllowed
from django_q.models.columns import columns_meanwhile
from django_q.models.literals import LENGTH_ADVISED, parse_args, parse_kwargs
from django_q.models.task import Task
from django_q.models.validators import validate_cron, validate_kwarg
from django_q.options import Options
from django_q.recurrence import Recurrence, Slot
from django_q.transactions import writing


class Schedule(models.Model):
    """A plan to run a function. Its arguments are Python literals, written as text."""

    ONCE = recurrence.ONCE
    MINUTES = recurrence.MINUTES
    HOURLY = recurrence.HOURLY
    DAILY = "D"
    WEEKLY = "W"
    BIWEEKLY = "BW"
    MONTHLY = "M"
    BIMONTHLY = "BM"
    QUARTERLY = "Q"
    YEARLY = recurrence.YEARLY
    CRON = recurrence.CRON
    TYPE = (
        (ONCE, _("Once")),
        (MINUTES, _("Minutes")),
        (HOURLY, _("Hourly")),
        (DAILY, _("Daily")),
        (WEEKLY, _("Weekly")),
        (BIWEEKLY, _("Biweekly")),
        (MONTHLY, _("Monthly")),
        (BIMONTHLY, _("Bimonthly")),
        (QUARTERLY, _("Quarterly")),
        (YEARLY, _("Yearly")),
        (CRON, _("Cron")),
    )

    name = models.CharField(  # noqa: DJ001 - the schema is that of all releases
        verbose_name=_("name"), max_length=100, null=True, blank=True
    )
    func = models.CharField(
        verbose_name=_("function"),
        max_length=256,
        help_text=_("Dotted path of the function, for example shop.tasks.send"),
    )
    hook = models.CharField(  # noqa: DJ001 - the schema is that of all releases
        verbose_name=_("hook"),
        max_length=256,
        null=True,
        blank=True,
        help_text=_("Dotted path of a function that is called with the ended task"),
    )
    args = models.TextField(  # noqa: DJ001 - the schema is that of all releases
        verbose_name=_("arguments"),
        null=True,
        blank=True,
        help_text=_("Plain Python values, for example 1, 2, 'John'"),
    )
    kwargs = models.TextField(  # noqa: DJ001 - the schema is that of all releases
        verbose_name=_("keyword arguments"),
        null=True,
        blank=True,
        help_text=_("Plain Python values, for example x=1, y=2, name='John'"),
    )
    schedule_type = models.CharField(
        verbose_name=_("schedule type"), max_length=2, choices=TYPE, default=ONCE
    )
    minutes = models.PositiveSmallIntegerField(
        verbose_name=_("minutes"),
        null=True,
        blank=True,
        help_text=_("Number of minutes for the Minutes type"),
    )
    repeats = models.IntegerField(
        verbose_name=_("repeats"),
        default=-1,
        help_text=_("n = n times, 0 = paused, -1 = forever"),
    )
    next_run = models.DateTimeField(
        verbose_name=_("next run"), default=timezone.now, null=True
    )
    cron = models.CharField(  # noqa: DJ001 - the schema is that of all releases
        verbose_name=_("cron expression"),
        max_length=100,
        null=True,
        blank=True,
        validators=[validate_cron],
        help_text=_("Cron expression for the Cron type, for example 0 22 * * 1-5"),
    )
    task = models.CharField(  # noqa: DJ001 - the schema is that of all releases
        verbose_name=_("last task"), max_length=100, null=True, editable=False
    )
    cluster = models.CharField(  # noqa: DJ001 - the schema is that of all releases
        verbose_name=_("cluster"),
        max_length=100,
        null=True,
        blank=True,
        default=None,
        help_text=_("Name of the cluster that runs it; empty for the default cluster"),
    )
    intended_date_kwarg = models.CharField(  # noqa: DJ001 - as in all releases
        verbose_name=_("keyword of the intended date"),
        max_length=100,
        null=True,
        blank=True,
        validators=[validate_kwarg],
        help_text=_("Name of the keyword argument that gets the planned time"),
    )

    class Meta:
        app_label = "django_q"
        verbose_name = _("Scheduled task")
        verbose_name_plural = _("Scheduled tasks")
        ordering = ("next_run",)

    def __str__(self) -> str:
        return self.func

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save. A new cron schedule starts at the first match from `next_run` on, or
        from now.

        Raises ValueError for a new one whose expression can't be read.
        """
        is_cron = self.schedule_type == self.CRON
        if self._state.adding and is_cron:
            start, zone = self.next_run or clock.now(), clock.zone()
            self.next_run = recurrence.first_match(self.cron or "", start, zone)
        super().save(*args, **kwargs)

    def _do_insert(
        self,
        manager: Any,
        using: str,
        fields: Iterable[models.Field[Any, Any]],
        *more: Any,
    ) -> Any:
        """Django's own step. While a project migrates, columns that are still to come
        are left out, unless they are to hold something.
        """
        there = columns_meanwhile(Schedule, using)
        if there is not None:
            fields = [
                field
                for field in fields
                if field.column in there
                or getattr(self, field.attname) != field.get_default()
            ]
        insert: Any = super()._do_insert  # type: ignore[misc]
        return insert(manager, using, fields, *more)

    def clean(self) -> None:
        """Raise ValidationError for arguments that don't parse and a missing cron."""
        super().clean()
        problems: dict[str, str] = {}
        for field, parse in (("args", self.parse_args), ("kwargs", self.parse_kwargs)):
            try:
                parse()
            except ValueError as error:
                problems[field] = str(error)
        if self.schedule_type == self.CRON and not self.cron:
            problems["cron"] = str(_("The Cron type needs a cron expression."))
        problems |= self._too_long() | self._forbidden()
        if problems:
            raise ValidationError(problems)

    def _too_long(self) -> dict[str, str]:
        """Arguments above the limit, unless they are those that the row has already."""
        texts = {"args": self.args or "", "kwargs": self.kwargs or ""}
        long = [name for name, text in texts.items() if len(text) > LENGTH_ADVISED]
        if not long:
            return {}
        rows = Schedule.objects.using(self._state.db).filter(pk=self.pk)
        stored: Mapping[str, Any] = rows.values("args", "kwargs").first() or {}
        message = _("arguments do not parse: more than %(limit)d characters")
        problem = str(message % {"limit": LENGTH_ADVISED})
        return {name: problem for name in long if texts[name] != stored.get(name)}

    def _forbidden(self) -> dict[str, str]:
        """What the setting `allowed_functions` says against function and hook."""
        problems = {}
        named = {"func": self.func, "hook": self.hook}
        for field, path in named.items():
            try:
                if path:
                    check_path(path)
            except TaskNotAllowed as error:
                problems[field] = str(error)
        return problems

    def parse_args(self) -> tuple[Any, ...]:
        """The positional arguments. Raises ValueError if the text does not parse."""
        return parse_args(self.args)

    def parse_kwargs(self) -> dict[str, Any]:
        """The keyword arguments. Raises ValueError if the text does not parse."""
        return parse_kwargs(self.kwargs)

    def calculate_next_run(self, next_run: datetime | None = None) -> datetime:
        """The run after the given one, or after this schedule's own next run.

        Raises NothingFollows, a ValueError, for what runs once.
        """
        rhythm = Recurrence(
            schedule_type=self.schedule_type,
            minutes=self.minutes,
            cron=self.cron,
            zone=clock.zone(),
        )
        slot = Slot(next_run) if next_run else self._own_slot()
        return rhythm.following(slot).moment

    @property
    def error(self) -> str | None:
        """Why the schedule could not run when it was due; None while all is well."""
        return self._note().error

    @property
    def anchor(self) -> str | None:
        """The wall-clock time that `next_run` stands for where that does not exist."""
        return self._note().anchor

    def _note(self) -> ScheduleNote:
        try:
            return self.note
        except ScheduleNote.DoesNotExist:
            return ScheduleNote()

    def _own_slot(self) -> Slot:
        meant = datetime.fromisoformat(self.anchor) if self.anchor else None
        return Slot(self.next_run or clock.now(), meant)

    def success(self) -> bool | None:
        """Whether the last task succeeded; None while there is none to look at."""
        rows = Task.objects.filter(id=self.task) if self.task else Task.objects.none()
        return rows.values_list("success", flat=True).first()

    def last_run(self) -> str | None:
        """A link to the last task in the admin; None while there is none to look at."""
        if not self.task:
            return None
        rows = Task.objects.filter(id=self.task)
        found = rows.values_list("id", "name", "success").first()
        return None if found is None else link_to_task(*found)

    last_run.short_description = _("last run")  # type: ignore[attr-defined]


class ScheduleNote(models.Model):
    """What a cluster notes about a schedule. Most schedules have none.

    Not in the schedule's own table, which stays as all releases know it: code that
    plans something while a project migrates finds no column that is not there yet.
    """

    schedule = models.OneToOneField(
        Schedule,
        # Releases before ours delete schedules without knowing of notes.
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        primary_key=True,
        related_name="note",
        verbose_name=_("schedule"),
    )
    error = models.TextField(  # noqa: DJ001 - None is: no error
        verbose_name=_("error"), null=True, blank=True, editable=False
    )
    """Why the schedule could not run when it was due; None while all is well."""

    anchor = models.CharField(  # noqa: DJ001 - None is: nothing was moved
        verbose_name=_("intended time"), max_length=32, null=True, editable=False
    )
    """The wall-clock time that `next_run` stands for where that does not exist.

    ISO 8601 without a zone; only when the clocks skip the time that was meant.
    """

    class Meta:
        app_label = "django_q"
        verbose_name = _("Note on a schedule")
        verbose_name_plural = _("Notes on schedules")

    def __str__(self) -> str:
        return self.error or self.anchor or ""

    @classmethod
    def write(
        cls, schedule: Schedule, *, error: str | None, anchor: str | None
    ) -> None:
        """Note these facts about a schedule, instead of those before.

        Two times None leaves no note. Sweeps out those of schedules that are gone.
        """
        using = schedule._state.db or router.db_for_write(cls)  # noqa: SLF001 - public by its docs
        notes = cls.objects.using(using)
        with writing(using):
            # Read first: MySQL would wait for rows that it reads in order to delete.
            known = Schedule.objects.using(using).values("pk")
            gone = notes.exclude(schedule__in=known).values_list("pk", flat=True)
            notes.filter(pk__in=list(gone)).delete()
            if error is None and anchor is None:
                notes.filter(schedule=schedule).delete()
                return
            facts = {"error": error, "anchor": anchor}
            notes.update_or_create(schedule_id=schedule.pk, defaults=facts)


def is_fired_by(options: Options) -> models.Q:
    """The schedules that a cluster fires: its own, and none that is paused or over.

    Those that name no cluster belong to the one that has the site's name.
    """
    own = models.Q(cluster=options.queue)
    if options.queue == options.name:
        own |= models.Q(cluster=None) | models.Q(cluster="")
    return own & models.Q(next_run__isnull=False) & ~models.Q(repeats=0)


def link_to_task(
    task_id: str, name: str, success: bool, *, site: str | None = None
) -> str:
    """A link to a task's page in an admin site; its name alone where there is none."""
    page = "success" if success else "failure"
    try:
        address = reverse(
            f"admin:django_q_{page}_change", args=[task_id], current_app=site
        )
    except NoReverseMatch:
        return format_html("[{}]", name)
    return format_html('<a href="{}">[{}]</a>', address, name)
