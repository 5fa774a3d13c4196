-- wake: ring the bells of queues that hold jobs, because other programs do not ring. Ring all bells for a halt.
--
-- KEYS  1 to 16: see _keys
--       then for each queue: the list, its bell
-- ARGV  none
-- Returns 1 if the prefix is halted, else 0.

local halted = call('MGET', control)[1] == 'HALT'
for at = 17, #KEYS, 2 do
    if halted or call('EXISTS', KEYS[at]) == 1 then
        ring(KEYS[at + 1])
    end
end
return halted and 1 or 0
