"""Put the test vectors of other projects to Redbike's schedules: `python -m tests.peers`, or `bin/peers`.

The vectors are read at run time from the source distributions of these projects. Nothing of their text stands in the
repository.
"""
