"""Celery: Redbike as its beat."""
