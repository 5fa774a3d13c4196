"""Hold the usage of the command line. docopt reads it, and `--help` prints it."""

USAGE = """Redbike, a simple, flexible scheduler for pools of distributed workers on Redis.

Usage:
  redbike init
  redbike [--config=<CONF>] set <JOBID> <SCHEDULE> [--after=<TIMESTAMP>] [--payload=<TEXT>] [--first=<TIMESTAMP>]
  redbike [--config=<CONF>] enqueue <JOBID> [--payload=<TEXT>]
  redbike [--config=<CONF>] unset <JOBID>
  redbike [--config=<CONF>] unset --match=<GLOB> [--dry-run]
  redbike [--config=<CONF>] pause (<JOBID> | --match=<GLOB>) [--until=<TIMESTAMP>] [--note=<TEXT>] [--dry-run]
  redbike [--config=<CONF>] pause --queue=<NAME> [--note=<TEXT>]
  redbike [--config=<CONF>] resume (<JOBID> | --match=<GLOB>) [--dry-run]
  redbike [--config=<CONF>] resume --queue=<NAME>
  redbike [--config=<CONF>] load <FILE> [--sync] [--dry-run] [--name=<NAME>] [--format=<FORMAT>] [--after=<TIMESTAMP>]
  redbike [--config=<CONF>] dispatch [<WORKER>] [--schedules=<SCHEDULESCSV> [--after=<TIMESTAMP>]] [--log-level=<LEVEL>]
  redbike [--config=<CONF>] work [<WORKER>] [--burst] [--processes=<N>] [--max-jobs=<N>] [--max-memory=<MB>]
          [--kill-late=<SECONDS>] [--log-level=<LEVEL>]
  redbike [--config=<CONF>] run [<WORKER>] [--schedules=<SCHEDULESCSV> [--after=<TIMESTAMP>]] [--processes=<N>]
          [--max-jobs=<N>] [--max-memory=<MB>] [--kill-late=<SECONDS>] [--log-level=<LEVEL>]
  redbike [--config=<CONF>] statuses [--before=<TIMESTAMP>]
  redbike [--config=<CONF>] schedules [--payloads]
  redbike [--config=<CONF>] tell <JOBID>
  redbike [--config=<CONF>] show <JOBID> [--json]
  redbike [--config=<CONF>] history [<JOBID>] [--since=<TIMESTAMP>] [--outcome=<WORD>] [--count=<N>] [--json] [--follow]
  redbike [--config=<CONF>] info [<JOB>...] [-q <NAME>] [(-s <STATUS> | --status=<STATUS>)] [--match=<GLOB>]
          [--sort=<COLUMN>] [-R] [-i] [--interval=<SECONDS>] [--limit=<N>] [--json]
  redbike [--config=<CONF>] why [<JOBID> [<TIME>]] [--json]
  redbike [--config=<CONF>] check [--max-late=<SECONDS>] [--max-wait=<SECONDS>] [--max-failing=<N>] [--max-lost=<N>]
          [--self]
  redbike [--config=<CONF>] metrics [--port=<PORT>] [--host=<ADDRESS>]
  redbike [--config=<CONF>] web [--port=<PORT>] [--host=<ADDRESS>] [--read-only]
  redbike [--config=<CONF>] control <SIGNAL>
  redbike [--config=<CONF>] lost [--before=<TIMESTAMP>] [--reset]
  redbike [--config=<CONF>] import crontab <FILE> [--queue=<Q>] [--zone=<TZ>] [--system] [--prefix-name=<P>] [--dry-run]
  redbike [--config=<CONF>] import redbeat [--url=<URL>] [--prefix=<PREFIX>] [--zone=<TZ>] [--dry-run]
  redbike [--config=<CONF>] import rediscron [--url=<URL>] [--prefix=<PREFIX>] [--zone=<TZ>] [--dry-run]
  redbike next <SCHEDULE> [--after=<TIMESTAMP>] [--count=<N>]
  redbike --help
  redbike --version

Commands:
  init       Write .redbike.conf and workers.py, which run as they are, to the current folder.
  set        Register a job with a schedule: NOW, AT:TIME, CONTINUE, STOP, EVERY:INTERVAL, CRON:EXPRESSION or RRULE.
  enqueue    Run a job once, as soon as possible. Its schedule does not change.
  unset      Remove a job and its schedule.
  pause      Keep a job from running until it is resumed, or workers from a queue.
  resume     Plan a paused job from now; or take jobs from a queue again.
  load       Set the jobs of a CSV or JSONL file; - is stdin. With --sync, change what differs, and unset removed jobs.
  dispatch   Move jobs that are due into their queues, until HALT or a signal.
  work       Take jobs from the queues and run them, until HALT or a signal.
  run        Run a dispatcher and workers under one parent, until HALT or a signal.
  statuses   Print the latest event of each job as CSV: job id, event, Unix time.
  schedules  Print the schedule of each job as CSV, ready for load.
  tell       Print the state of one job as JSON.
  show       Print all that is known of one job.
  history    Print past runs, the latest last.
  info       Show jobs, queues, runs in progress and processes. With -i, live.
  why        Explain what a job does now, or what became of its run at a time. Without a job: list all that is wrong.
  check      Print one line for a monitoring system; exit with 0 if all is well, 1 for a warning, 2 if critical.
  metrics    Print metrics for Prometheus, or with --port serve them.
  web        Serve a web page, on this machine alone unless the conf has a password.
  control    Send a signal to all dispatchers and workers: HALT stops them; PAUSE makes them take no job until RESUME.
  lost       Print jobs that should run again but are neither planned, queued nor running, and BAD jobs, as CSV.
  import     Make jobs of a crontab (- for stdin). The worker redbike.commands:Shell('A') runs their commands.
             Or import the jobs of RedBeat or rq-rediscron from Redis. Their keys do not change.
  next       Print the next runs of a schedule, and warnings about likely mistakes. Needs no Redis.

Options:
  -c <CONF>, --config=<CONF>                    The configuration file; else $REDBIKE_CONFIG, else .redbike.conf.
  -s <SCHEDULESCSV>, --schedules=<SCHEDULESCSV> A CSV of JOBID,SCHEDULE[,PAYLOAD] rows to set at the start.
  --processes=<N>                               Run so many workers under one parent, which replaces those that die.
  --max-jobs=<N>                                Replace a worker after so many jobs.
  --max-memory=<MB>                             Replace a worker after a job, if it then uses more memory.
  --kill-late=<SECONDS>                         Kill a worker whose run continues so long after its lease.
  --burst                                       End when the queues are empty.
  -a <TIMESTAMP>, --after=<TIMESTAMP>           The reference time of the first run (Unix seconds, ISO 8601), or now.
  --payload=<TEXT>                              The text for the job's runs; @FILE: a file's content; -: stdin.
  --first=<TIMESTAMP>                           The time of the first run, or +10m for ten minutes from now.
  --match=<GLOB>                                All registered jobs whose id matches, as in report*.
  --dry-run                                     Print what would be done, and do nothing.
  -q <NAME>, --queue=<NAME>                     The name of a queue, such as work-A (for import, the default).
  --until=<TIMESTAMP>                           The time at which the job resumes by itself, or +10m.
  --note=<TEXT>                                 The reason, for people.
  --payloads                                    Print the payload of each job, too.
  --json                                        Print JSON.
  --since=<TIMESTAMP>                           Print only runs that ended at this time or later.
  --outcome=<WORD>                              Print only runs with this outcome: done, failed, lost and so on.
  --status=<STATUS>                             With info (or -s): only jobs in this state, such as queued or failing.
  --sort=<COLUMN>                               Sort by job, queue, schedule, status, next, last, fails; or -next.
  -R, --by-queue                                Group jobs by their queues.
  -i, --live                                    Update the table until q or Ctrl-C.
  --interval=<SECONDS>                          Update the table every so many seconds, until q or Ctrl-C (default: 1).
  --limit=<N>                                   Show at most so many jobs; 0 for all (default: 100).
  --max-late=<SECONDS>                          Critical if a job is due for longer, but not queued (default: 60).
  --max-wait=<SECONDS>                          A warning if a job waits in its queue for longer.
  --max-failing=<N>                             A warning if the last run failed of more than so many jobs.
  --max-lost=<N>                                A warning if more than so many jobs are lost.
  --self                                        Check only the processes of this host.
  --port=<PORT>                                 The port to serve (default of web: 8730).
  --host=<ADDRESS>                              The address to serve (default: 127.0.0.1).
  --read-only                                   Serve a page that changes nothing.
  --follow                                      Print new runs until Ctrl-C.
  --sync                                        Change what differs; unset jobs that have left the file of this name.
  --name=<NAME>                                 The name of the load, for --sync; else the path of the file.
  --format=<FORMAT>                             csv or jsonl; else the file's name or its first character decides.
  -b <TIMESTAMP>, --before=<TIMESTAMP>          Print only events up to this time (Unix seconds, ISO 8601).
  --log-level=<LEVEL>                           debug, info (also a line per run), warning or error.
  --reset                                       Reschedule each lost job.
  --zone=<TZ>                                   The zone of a crontab, such as Europe/Berlin; else that of this machine
                                                (with redbeat: UTC, as in Celery).
  --url=<URL>                                   The Redis from which to import; else that of the conf.
  --prefix=<PREFIX>                             The beginning of the keys to import (default: redbeat: or rq:).
  --system                                      The crontab has a field for the user, as /etc/crontab has.
  --prefix-name=<P>                             The beginning of the ids of imported jobs.
  -n <N>, --count=<N>                           The most runs to print (default: 5 with next, 20 with history).
  -h, --help                                    Show this text.
  --version                                     Show the version.
"""
"""The text for docopt. It is not a docstring, because `python -OO` removes docstrings."""
