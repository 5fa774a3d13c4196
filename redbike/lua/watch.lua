-- watch: what a dispatcher does for idle workers, so that they need not look so often: it wakes them for jobs that others
-- put into a queue without ringing, and for a halt.
--
-- KEYS  1 control
--       then for each queue: the list, its bell, its watch
-- ARGV  1 how long the queues may be thought of as watched, seconds
-- Returns 1 where the prefix is halted, else 0.

local halted = redis.pcall('GET', KEYS[1]) == 'HALT'
for at = 2, #KEYS, 3 do
    local queue, bell, watch = unpack(KEYS, at, at + 2)
    if (halted or redis.call('EXISTS', queue) == 1) and redis.call('EXISTS', bell) == 0 then
        redis.call('LPUSH', bell, '1')
    end
    if halted then
        redis.call('DEL', watch)
    else
        redis.call('SET', watch, '1', 'EX', ARGV[1])
    end
end
return halted and 1 or 0
