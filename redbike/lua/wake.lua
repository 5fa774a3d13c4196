-- wake: ring for idle workers where jobs lie in a queue that others put there without ringing, and everywhere for a halt.
--
-- KEYS  1 control
--       then for each queue: the list, its bell
-- ARGV  none
-- Returns 1 where the prefix is halted, else 0.

local halted = redis.pcall('GET', KEYS[1]) == 'HALT'
for at = 2, #KEYS, 2 do
    local queue, bell = KEYS[at], KEYS[at + 1]
    if (halted or redis.call('EXISTS', queue) == 1) and redis.call('EXISTS', bell) == 0 then
        redis.pcall('LPUSH', bell, '1')
    end
end
return halted and 1 or 0
