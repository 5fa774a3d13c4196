"""Bridges: workers that hand their runs to Celery or RQ. Redbike says when; the other system runs the work."""
