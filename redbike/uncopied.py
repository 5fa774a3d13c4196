"""Objects that cannot be copied, because they hold connections and loops, and that say what to do in place of it."""

from typing import NoReturn, SupportsIndex


class Uncopied:
    """Refuses pickle, copy and deepcopy."""

    def __reduce_ex__(self, _protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} holds connections, so it can be neither pickled nor copied: make one from the"
            " same arguments where you need it, once in each process"
        )
