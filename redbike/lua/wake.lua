-- wake: ring for idle workers where jobs lie in a queue that others put there without ringing, and everywhere for a halt.
--
-- KEYS  1 to 8: see _keys
--       then for each queue: the list, its bell
-- ARGV  none
-- Returns 1 where the prefix is halted, else 0.

local halted = call('MGET', control)[1] == 'HALT'
for at = 9, #KEYS, 2 do
    if halted or call('EXISTS', KEYS[at]) == 1 then
        ring(KEYS[at + 1])
    end
end
return halted and 1 or 0
