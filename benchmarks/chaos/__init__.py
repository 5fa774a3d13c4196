"""Chaos: fleets of real processes, faults on purpose, and a judge that trusts no statement of Redbike about itself.

Every run is recorded on a second server that no fault touches. Lost and doubled runs are counted from these records.
"""
