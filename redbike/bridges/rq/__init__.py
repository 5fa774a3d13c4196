"""RQ: Redbike as its cron scheduler."""
