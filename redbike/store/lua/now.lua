-- now: return the server's time.
--
-- KEYS  1 to 16: see _keys
-- ARGV  none
-- Returns Unix seconds, as text.

local time = call('TIME')
return string.format('%.6f', time[1] + time[2] / 1000000)
