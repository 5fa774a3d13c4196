"""Run the command `redbike` by `python -m redbike`."""

from redbike.cli import run

run()
