-- now: the server's time.
--
-- KEYS  1 any key of the prefix
-- ARGV  none
-- Returns Unix seconds, as text.

local time = redis.call('TIME')
return string.format('%.6f', time[1] + time[2] / 1000000)
