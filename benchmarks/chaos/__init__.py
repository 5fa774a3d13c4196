"""Chaos: fleets of real processes, faults on purpose, and a judge who trusts nothing that Redbike says of itself.

Every run is noted on a second server that no fault touches; what was lost or doubled is counted from these notes.
"""
