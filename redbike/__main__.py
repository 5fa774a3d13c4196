"""`python -m redbike` is the command `redbike`."""

from redbike.cli import run

run()
