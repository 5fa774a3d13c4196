"""The page of `redbike web`: what `info`, `why` and `show` print, in a browser, and the verbs that change jobs.

Needs the extra `redbike[web]`. Nothing below `cli/` imports this package.
"""
