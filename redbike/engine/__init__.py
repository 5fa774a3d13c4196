"""WHO: the loops of dispatchers and workers, and their decisions.

`processor.py` is the worker's loop, and `dispatcher.py` the dispatcher's loop. `outcome.py` decides the next action of
a job after a run, and `planning.py` decides it for `set`. `retry.py` repeats calls of Redis.
"""
