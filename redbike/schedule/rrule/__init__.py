"""The recurrence engine: iCalendar rules and dates, and what comes next by them."""
