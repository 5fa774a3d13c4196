"""The command `redbike why`: explain one job, or say all that is wrong now."""

import json

from redbike import streams
from redbike.cli.opening import Arguments, opened, timestamp
from redbike.logs import printable
from redbike.looking.overview import look
from redbike.looking.past import explained
from redbike.looking.rows import Rows
from redbike.looking.settled import settled
from redbike.looking.troubles import Jobs, fine, troubles, troubles_as_json
from redbike.looking.why import reasons_as_json
from redbike.looking.words import exact


def do_why(arguments: Arguments) -> int:
    """Explain one job, or print all that is wrong. Return the exit code: 1 if anything is wrong."""
    output = streams.output()
    jobid = arguments["<JOBID>"]
    with opened(arguments, looks=True) as bike:
        at = timestamp(arguments, "<TIME>", bike.now)
        if jobid is None:
            jobs = Jobs.of(settled(bike, Rows(bike).all()))
            overview = look(bike)
            found = troubles(overview, jobs)
            lines, is_wrong = [trouble.text for trouble in found], bool(found)
            heading, nothing = f"{bike.prefix} at {exact(overview.now)}", fine(overview, jobs)
            told = troubles_as_json(overview, found)
        else:
            overview, why = explained(bike, jobid, at)
            lines, is_wrong = [reason.text for reason in why], any(reason.is_wrong for reason in why)
            asked = "" if at is None else f", asked about {exact(at)}"
            heading, nothing = f"{jobid} at {exact(overview.now)}{asked}", ""
            told = reasons_as_json(overview, jobid, at, why)
    if arguments["--json"]:
        print(json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False), file=output)
    elif lines:
        print(f"{printable(heading)}:", file=output)
        for line in lines:
            print(f"- {printable(line)}", file=output)
    else:
        print(printable(nothing), file=output)
    return int(is_wrong)
