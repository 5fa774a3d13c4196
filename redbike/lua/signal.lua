-- signal: set the control key, and have idle dispatchers notice at once. This works also where memory is full.
--
-- KEYS  1 control
-- ARGV  1 the signal, 2 the wake channel

-- A server whose memory is full refuses SET, unless the script has written before: the rest of a change is let through.
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1])
redis.pcall('PUBLISH', ARGV[2], '')
