"""Schedule classes for Celery that Redbike computes: any schedule text, and RedBeat's rrule. Imports Celery.

Celery's own beat could run them, too. With Redbike as the beat, only their text counts.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from celery.schedules import BaseSchedule, schedstate

from redbike.bridges.celery.rrules import FIELDS, rrule_text
from redbike.bridges.celery.zonenames import zone_name
from redbike.schedule.forms import LATEST, read
from redbike.schedule.plan import Action


class _Recurring(BaseSchedule):  # type: ignore[misc]  # Celery has no types
    """What the classes share: they answer Celery's questions from their text."""

    text: str

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the next run strictly after an aware moment, in UTC; None if there is none.

        NOW and CONTINUE have a run at once: then it is the moment itself.
        """
        plan = read(self.text).first(moment.timestamp())
        if plan.action is Action.QUEUE:
            return moment.astimezone(UTC)
        if plan.action is not Action.AT or plan.due_at is None or plan.due_at > LATEST:
            return None
        due = datetime.fromtimestamp(plan.due_at, UTC)
        return due if due > moment else None

    def remaining_estimate(self, last_run_at: datetime) -> timedelta | None:
        """Return the time from now to the next run after the last run; None if there is none."""
        due = self.next_after(self.maybe_make_aware(last_run_at))
        return None if due is None else due - self.maybe_make_aware(self.now())

    def is_due(self, last_run_at: datetime) -> Any:
        """Return whether a run is due, and the seconds to the next run; None in their place if there is none."""
        remaining = self.remaining_estimate(last_run_at)
        due = remaining is not None and remaining <= timedelta()
        if due:
            remaining = self.remaining_estimate(self.now())
        return schedstate(due, None if remaining is None else max(remaining.total_seconds(), 0))

    def __eq__(self, other: object) -> bool:
        return self.text == other.text if isinstance(other, _Recurring) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # as all schedules of Celery


class RedbikeSchedule(_Recurring):
    """Any schedule text of Redbike as a schedule of Celery, such as `CRON:0 9 * * mon#1 Europe/Berlin`."""

    def __init__(self, text: str, nowfun: Callable[[], datetime] | None = None, app: Any = None) -> None:
        """Raise ValueError, with the reason, for a text that is not a schedule."""
        super().__init__(nowfun=nowfun, app=app)
        if not isinstance(text, str):
            raise ValueError(f"schedule {text!r} is not a text: write a text such as 'EVERY:10s'")
        plan = read(text).first(0)
        if plan.action is Action.BAD:
            raise ValueError(str(plan.reason))
        self.text = text

    def __repr__(self) -> str:
        return f"<schedule: {self.text!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.text, self.nowfun)


class rrule(_Recurring):
    """RedBeat's rrule: a recurrence by the fields of python-dateutil.

    It keeps the zone of `dtstart` and nth weekdays. A `dtstart` or `until` without a zone is in UTC, and the rule then
    runs on the clock of the app's timezone. Without `dtstart`, it starts now.
    """

    starts_now: bool
    """True if `dtstart` was not given: each new process then begins again, so a static entry needs a `dtstart`."""

    def __init__(
        self,
        freq: int | str,
        dtstart: datetime | None = None,
        interval: int = 1,
        wkst: Any = None,
        count: int | None = None,
        until: datetime | None = None,
        bysetpos: Any = None,
        bymonth: Any = None,
        bymonthday: Any = None,
        byyearday: Any = None,
        byeaster: Any = None,
        byweekno: Any = None,
        byweekday: Any = None,
        byhour: Any = None,
        byminute: Any = None,
        bysecond: Any = None,
        nowfun: Callable[[], datetime] | None = None,
        app: Any = None,
    ) -> None:
        """Raise ValueError, with field, value and way out, for an rrule that Redbike cannot express."""
        super().__init__(nowfun=nowfun, app=app)
        self.starts_now = dtstart is None
        if dtstart is None:
            dtstart = datetime.now(UTC) if nowfun is None else nowfun()
        self.freq, self.interval, self.wkst, self.count = freq, interval, wkst, count
        self.dtstart, self.until = dtstart, until
        self.bysetpos, self.bymonth, self.bymonthday, self.byyearday = bysetpos, bymonth, bymonthday, byyearday
        self.byeaster, self.byweekno, self.byweekday = byeaster, byweekno, byweekday
        self.byhour, self.byminute, self.bysecond = byhour, byminute, bysecond
        rrule_text(self._fields())  # to refuse wrong fields here

    def _fields(self) -> dict[str, Any]:
        fields = {name: getattr(self, name) for name in FIELDS}
        if self.starts_now and self.dtstart.tzinfo is not None:
            fields["dtstart"] = self.dtstart.astimezone(UTC).replace(tzinfo=None)  # to run on the clock of the app
        return fields

    @property
    def text(self) -> str:  # type: ignore[override]  # computed: the app may be set later
        """The schedule text. It depends on the app if a moment has no zone."""
        fields = self._fields()
        return rrule_text(fields, None if _all_have_zones(fields) else app_zone(self))

    def __repr__(self) -> str:
        given = (f"{name}={value!r}" for name in FIELDS if (value := getattr(self, name)) is not None)
        return f"<rrule: {', '.join(given)}>"

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {name: getattr(self, name) for name in FIELDS}
        return _unpickled, (type(self), fields, self.starts_now, self.nowfun)


def app_zone(schedule: Any) -> str:
    """Return the IANA name of the zone in which a schedule of Celery is read: its own, or that of its app.

    Raise ValueError, with the way out, if the zone has no name.
    """
    name = zone_name(schedule.tz)
    if name is None:
        raise ValueError(
            f"the timezone {str(schedule.tz)!r} has no IANA name: set one in the configuration of Celery, such as"
            " timezone = 'Europe/Berlin'"
        )
    return name


def _all_have_zones(fields: dict[str, Any]) -> bool:
    return all(value is None or value.tzinfo is not None for value in (fields["dtstart"], fields["until"]))


def _unpickled(
    kind: type[rrule], fields: dict[str, Any], starts_now: bool, nowfun: Callable[[], datetime] | None
) -> rrule:
    found = kind(**fields, nowfun=nowfun)
    found.starts_now = starts_now
    return found
