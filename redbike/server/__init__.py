"""ON WHAT: find the Redis server and connect to it."""
