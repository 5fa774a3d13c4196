"""Hold the usage of the command line. docopt reads it, and `--help` prints it."""

USAGE = """Redbike, a simple, flexible scheduler for pools of distributed workers on Redis.

Usage:
  redbike init
  redbike [--config=<CONF>] set <JOBID> <SCHEDULE> [--after=<TIMESTAMP>]
  redbike [--config=<CONF>] enqueue <JOBID>
  redbike [--config=<CONF>] unset <JOBID>
  redbike [--config=<CONF>] dispatch [<WORKER>] [--schedules=<SCHEDULESCSV> [--after=<TIMESTAMP>]]
  redbike [--config=<CONF>] work [<WORKER>]
  redbike [--config=<CONF>] statuses [--before=<TIMESTAMP>]
  redbike [--config=<CONF>] schedules
  redbike [--config=<CONF>] tell <JOBID>
  redbike [--config=<CONF>] control <SIGNAL>
  redbike [--config=<CONF>] lost [--before=<TIMESTAMP>] [--reset]
  redbike next <SCHEDULE> [--after=<TIMESTAMP>] [--count=<N>]
  redbike --help
  redbike --version

Commands:
  init       Write .redbike.conf and workers.py, which run as they are, to the current folder.
  set        Register a job with a schedule: NOW, AT:TIME, CONTINUE, STOP, EVERY:INTERVAL, CRON:EXPRESSION or RRULE.
  enqueue    Run a job once, as soon as possible. Its schedule does not change.
  unset      Remove a job and its schedule.
  dispatch   Move jobs that are due into their queues, until HALT or a signal.
  work       Take jobs from the queues and run them, until HALT or a signal.
  statuses   Print the latest event of each job as CSV: job id, event, Unix time.
  schedules  Print the schedule of each job as CSV, ready for dispatch --schedules.
  tell       Print all data of one job as JSON.
  control    Send a signal to all dispatchers and workers: HALT stops them.
  lost       Print jobs that should run again but are neither planned, queued nor running, and BAD jobs, as CSV.
  next       Print the next runs of a schedule, and warnings about likely mistakes. Needs no Redis.

Options:
  -c <CONF>, --config=<CONF>                    The configuration file; else $REDBIKE_CONFIG, else .redbike.conf.
  -s <SCHEDULESCSV>, --schedules=<SCHEDULESCSV> A CSV of JOBID,SCHEDULE rows to set before dispatching.
  -a <TIMESTAMP>, --after=<TIMESTAMP>           The reference time of the first run (Unix seconds, ISO 8601), or now.
  -b <TIMESTAMP>, --before=<TIMESTAMP>          Print only events up to this time (Unix seconds, ISO 8601).
  --reset                                       Reschedule each lost job.
  -n <N>, --count=<N>                           The number of runs to print [default: 5].
  -h, --help                                    Show this text.
  --version                                     Show the version.
"""
"""The text for docopt. It is not a docstring, because `python -OO` removes docstrings."""
