"""The examples of RFC 5545, section 3.8.5.3, with the dates that it lists, in local time of New York.

`EXAMPLES` holds (recurrence, listed moments, ends): `ends` tells if the list is complete or goes on with "...".
"""

from datetime import datetime

NINE = ("0900",)


def _start(date):
    return f"DTSTART;TZID=America/New_York:{date}T090000\n"


def _listed(notation, times=NINE):
    """``199709: 2 3 5-7`` and so on, each day at each of the times."""
    moments = []
    for line in notation.split(";"):
        month, _, days = line.strip().partition(":")
        for item in days.split():
            first, _, last = item.partition("-")
            for day in range(int(first), int(last or first) + 1):
                moments += [datetime.strptime(f"{month}{day:02}{time}", "%Y%m%d%H%M") for time in times]
    return moments


def _odd(first, last):
    return " ".join(str(day) for day in range(first, last + 1, 2))


_FIVE_WEEKS = "199709: 2 4 9 11 16 18 23 25 30; 199710: 2"
_JANUARIES = "199801: 1-31; 199901: 1-31; 200001: 1-31"
_WORK_HOURS = tuple(f"{hour:02}{minute:02}" for hour in range(9, 17) for minute in (0, 20, 40))

EXAMPLES = [
    (_start("19970902") + "RRULE:FREQ=DAILY;COUNT=10", _listed("199709: 2-11"), True),
    (
        _start("19970902") + "RRULE:FREQ=DAILY;UNTIL=19971224T000000Z",
        _listed("199709: 2-30; 199710: 1-31; 199711: 1-30; 199712: 1-23"),
        True,
    ),
    (
        _start("19970902") + "RRULE:FREQ=DAILY;INTERVAL=2",
        _listed(f"199709: {_odd(2, 30)}; 199710: {_odd(2, 30)}; 199711: {_odd(1, 29)}; 199712: 1 3"),
        False,
    ),
    (_start("19970902") + "RRULE:FREQ=DAILY;INTERVAL=10;COUNT=5", _listed("199709: 2 12 22; 199710: 2 12"), True),
    (
        _start("19980101") + "RRULE:FREQ=YEARLY;UNTIL=20000131T140000Z;BYMONTH=1;BYDAY=SU,MO,TU,WE,TH,FR,SA",
        _listed(_JANUARIES),
        True,
    ),
    (_start("19980101") + "RRULE:FREQ=DAILY;UNTIL=20000131T140000Z;BYMONTH=1", _listed(_JANUARIES), True),
    (
        _start("19970902") + "RRULE:FREQ=WEEKLY;COUNT=10",
        _listed("199709: 2 9 16 23 30; 199710: 7 14 21 28; 199711: 4"),
        True,
    ),
    (
        _start("19970902") + "RRULE:FREQ=WEEKLY;UNTIL=19971224T000000Z",
        _listed("199709: 2 9 16 23 30; 199710: 7 14 21 28; 199711: 4 11 18 25; 199712: 2 9 16 23"),
        True,
    ),
    (
        _start("19970902") + "RRULE:FREQ=WEEKLY;INTERVAL=2;WKST=SU",
        _listed("199709: 2 16 30; 199710: 14 28; 199711: 11 25; 199712: 9 23; 199801: 6 20; 199802: 3 17"),
        False,
    ),
    (
        _start("19970902") + "RRULE:FREQ=WEEKLY;UNTIL=19971007T000000Z;WKST=SU;BYDAY=TU,TH",
        _listed(_FIVE_WEEKS),
        True,
    ),
    (_start("19970902") + "RRULE:FREQ=WEEKLY;COUNT=10;WKST=SU;BYDAY=TU,TH", _listed(_FIVE_WEEKS), True),
    (
        _start("19970901") + "RRULE:FREQ=WEEKLY;INTERVAL=2;UNTIL=19971224T000000Z;WKST=SU;BYDAY=MO,WE,FR",
        _listed(
            "199709: 1 3 5 15 17 19 29; 199710: 1 3 13 15 17 27 29 31; 199711: 10 12 14 24 26 28; 199712: 8 10 12 22"
        ),
        True,
    ),
    (
        _start("19970902") + "RRULE:FREQ=WEEKLY;INTERVAL=2;COUNT=8;WKST=SU;BYDAY=TU,TH",
        _listed("199709: 2 4 16 18 30; 199710: 2 14 16"),
        True,
    ),
    (
        _start("19970905") + "RRULE:FREQ=MONTHLY;COUNT=10;BYDAY=1FR",
        _listed(
            "199709: 5; 199710: 3; 199711: 7; 199712: 5; 199801: 2; "
            "199802: 6; 199803: 6; 199804: 3; 199805: 1; 199806: 5"
        ),
        True,
    ),
    (
        _start("19970905") + "RRULE:FREQ=MONTHLY;UNTIL=19971224T000000Z;BYDAY=1FR",
        _listed("199709: 5; 199710: 3; 199711: 7; 199712: 5"),
        True,
    ),
    (
        _start("19970907") + "RRULE:FREQ=MONTHLY;INTERVAL=2;COUNT=10;BYDAY=1SU,-1SU",
        _listed("199709: 7 28; 199711: 2 30; 199801: 4 25; 199803: 1 29; 199805: 3 31"),
        True,
    ),
    (
        _start("19970922") + "RRULE:FREQ=MONTHLY;COUNT=6;BYDAY=-2MO",
        _listed("199709: 22; 199710: 20; 199711: 17; 199712: 22; 199801: 19; 199802: 16"),
        True,
    ),
    (
        _start("19970928") + "RRULE:FREQ=MONTHLY;BYMONTHDAY=-3",
        _listed("199709: 28; 199710: 29; 199711: 28; 199712: 29; 199801: 29; 199802: 26"),
        False,
    ),
    (
        _start("19970902") + "RRULE:FREQ=MONTHLY;COUNT=10;BYMONTHDAY=2,15",
        _listed("199709: 2 15; 199710: 2 15; 199711: 2 15; 199712: 2 15; 199801: 2 15"),
        True,
    ),
    (
        _start("19970930") + "RRULE:FREQ=MONTHLY;COUNT=10;BYMONTHDAY=1,-1",
        _listed("199709: 30; 199710: 1 31; 199711: 1 30; 199712: 1 31; 199801: 1 31; 199802: 1"),
        True,
    ),
    (
        _start("19970910") + "RRULE:FREQ=MONTHLY;INTERVAL=18;COUNT=10;BYMONTHDAY=10,11,12,13,14,15",
        _listed("199709: 10-15; 199903: 10-13"),
        True,
    ),
    (
        _start("19970902") + "RRULE:FREQ=MONTHLY;INTERVAL=2;BYDAY=TU",
        _listed("199709: 2 9 16 23 30; 199711: 4 11 18 25; 199801: 6 13 20 27; 199803: 3 10 17 24 31"),
        False,
    ),
    (
        _start("19970610") + "RRULE:FREQ=YEARLY;COUNT=10;BYMONTH=6,7",
        _listed("; ".join(f"{year}06: 10; {year}07: 10" for year in range(1997, 2002))),
        True,
    ),
    (
        _start("19970310") + "RRULE:FREQ=YEARLY;INTERVAL=2;COUNT=10;BYMONTH=1,2,3",
        _listed(
            "199703: 10; " + "; ".join(f"{year}0{month}: 10" for year in (1999, 2001, 2003) for month in (1, 2, 3))
        ),
        True,
    ),
    (
        _start("19970101") + "RRULE:FREQ=YEARLY;INTERVAL=3;COUNT=10;BYYEARDAY=1,100,200",
        _listed(
            "199701: 1; 199704: 10; 199707: 19; 200001: 1; 200004: 9; 200007: 18; "
            "200301: 1; 200304: 10; 200307: 19; 200601: 1"
        ),
        True,
    ),
    (_start("19970519") + "RRULE:FREQ=YEARLY;BYDAY=20MO", _listed("199705: 19; 199805: 18; 199905: 17"), False),
    (
        _start("19970512") + "RRULE:FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO",
        _listed("199705: 12; 199805: 11; 199905: 17"),
        False,
    ),
    (
        _start("19970313") + "RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=TH",
        _listed("199703: 13 20 27; 199803: 5 12 19 26; 199903: 4 11 18 25"),
        False,
    ),
    (
        _start("19970605") + "RRULE:FREQ=YEARLY;BYDAY=TH;BYMONTH=6,7,8",
        _listed(
            "199706: 5 12 19 26; 199707: 3 10 17 24 31; 199708: 7 14 21 28; "
            "199806: 4 11 18 25; 199807: 2 9 16 23 30; 199808: 6 13 20 27; "
            "199906: 3 10 17 24; 199907: 1 8 15 22 29; 199908: 5 12 19 26"
        ),
        False,
    ),
    (
        _start("19970902") + "EXDATE;TZID=America/New_York:19970902T090000\nRRULE:FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13",
        _listed("199802: 13; 199803: 13; 199811: 13; 199908: 13; 200010: 13"),
        False,
    ),
    (
        _start("19970913") + "RRULE:FREQ=MONTHLY;BYDAY=SA;BYMONTHDAY=7,8,9,10,11,12,13",
        _listed(
            "199709: 13; 199710: 11; 199711: 8; 199712: 13; 199801: 10; 199802: 7; "
            "199803: 7; 199804: 11; 199805: 9; 199806: 13"
        ),
        False,
    ),
    (
        _start("19961105") + "RRULE:FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8",
        _listed("199611: 5; 200011: 7; 200411: 2"),
        False,
    ),
    (
        _start("19970904") + "RRULE:FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3",
        _listed("199709: 4; 199710: 7; 199711: 6"),
        True,
    ),
    (
        _start("19970929") + "RRULE:FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2",
        _listed("199709: 29; 199710: 30; 199711: 27; 199712: 30; 199801: 29; 199802: 26; 199803: 30"),
        False,
    ),
    # Printed with UNTIL=19970902T170000Z, which is 13:00 in New York; corrected to 17:00 there by the RFC's errata.
    (
        _start("19970902") + "RRULE:FREQ=HOURLY;INTERVAL=3;UNTIL=19970902T210000Z",
        _listed("199709: 2", ("0900", "1200", "1500")),
        True,
    ),
    (
        _start("19970902") + "RRULE:FREQ=MINUTELY;INTERVAL=15;COUNT=6",
        _listed("199709: 2", ("0900", "0915", "0930", "0945", "1000", "1015")),
        True,
    ),
    (
        _start("19970902") + "RRULE:FREQ=MINUTELY;INTERVAL=90;COUNT=4",
        _listed("199709: 2", ("0900", "1030", "1200", "1330")),
        True,
    ),
    (
        _start("19970902") + "RRULE:FREQ=DAILY;BYHOUR=9,10,11,12,13,14,15,16;BYMINUTE=0,20,40",
        _listed("199709: 2 3", _WORK_HOURS),
        False,
    ),
    (
        _start("19970902") + "RRULE:FREQ=MINUTELY;INTERVAL=20;BYHOUR=9,10,11,12,13,14,15,16",
        _listed("199709: 2 3", _WORK_HOURS),
        False,
    ),
    (
        _start("19970805") + "RRULE:FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=MO",
        _listed("199708: 5 10 19 24"),
        True,
    ),
    (
        _start("19970805") + "RRULE:FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=SU",
        _listed("199708: 5 17 19 31"),
        True,
    ),
    (
        _start("20070115") + "RRULE:FREQ=MONTHLY;BYMONTHDAY=15,30;COUNT=5",
        _listed("200701: 15 30; 200702: 15; 200703: 15 30"),
        True,
    ),
]
