"""Several processes under one parent: it starts workers, replaces those that die or hang, and passes signals on.

`parent.py` is the loop of the parent, which needs no connection to Redis. `child.py` is the other side.
"""
