-- signal: set the control key, and have idle dispatchers notice at once. This works also where memory is full.
--
-- KEYS  1 to 8: see _keys
-- ARGV  1 the signal  2 wake channel
-- Returns nothing.

-- A server whose memory is full refuses SET, unless the script has written before: the rest of a change is let through.
call('DEL', control)
call('SET', control, ARGV[1])
try('PUBLISH', ARGV[2], '')
