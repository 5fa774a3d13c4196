-- signal: set the control key, and wake idle dispatchers. This works also if memory is full.
--
-- KEYS  1 to 16: see _keys
-- ARGV  1 the signal  2 wake channel
-- Returns nothing.

-- If its memory is full, the server refuses SET, unless the script has already written something: here DEL.
call('DEL', control)
call('SET', control, ARGV[1])
if ARGV[1] == 'HALT' then
    try('HSET', metrics, 'halted', call('TIME')[1])
end
try('PUBLISH', ARGV[2], '')
