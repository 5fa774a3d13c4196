"""WHERE: the only package that knows keys, scripts and replies.

`keys.py` spells every key; `Keys.tag` is the key of a lease, called run tag in the public format. `store.py` has one
method per script of `lua/`. `lua/promote.lua` moves due jobs, `lua/turn.lua` ends a run and takes the next job.
"""
