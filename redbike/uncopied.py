"""Forbid copies of objects that hold connections and loops. The error says what to do instead."""

from typing import NoReturn, SupportsIndex


class Uncopied:
    """An object for which pickle, copy and deepcopy raise TypeError."""

    def __reduce_ex__(self, _protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} holds connections, so it can be neither pickled nor copied: in each process,"
            " make a new object from the same arguments"
        )
