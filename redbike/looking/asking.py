"""Ask Redis several questions in one round trip, where a key of a wrong type is no reason to fail."""

from typing import TYPE_CHECKING, Any

from redbike.server.refusals import is_wrong_type

if TYPE_CHECKING:
    from redbike.bike import Redbike


def ask(bike: "Redbike", *commands: tuple[Any, ...]) -> list[Any]:
    """Return the replies; None for a key of a wrong type. Raise ServerError for every other error.

    Any other error is no answer: to take it for a missing entry would show a planned job as lost.
    """

    def attempt(_repeated: bool) -> list[Any]:
        pipeline: Any = bike.redis.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        replies = []
        for reply in pipeline.execute(raise_on_error=False):
            if isinstance(reply, Exception):
                if not is_wrong_type(reply):
                    raise reply
                reply = None
            replies.append(reply)
        return replies

    return bike._parts.call(attempt)
