-- extend: let the lease of a run end later, or earlier.
--
-- KEYS  1 to 16: see _keys  17 P-Q-JOBID
-- ARGV  1 run tag  2 from now to the end of the lease, milliseconds
--       3 entry of the index of running jobs
-- Returns 1; 0 if the lease has ended, or belongs to another run.

local tag = KEYS[17]
if call('MGET', tag)[1] ~= ARGV[1] then
    return 0
end
call('PEXPIRE', tag, ARGV[2])
local time = call('TIME')
local deadline = time[1] + time[2] / 1000000 + ARGV[2] / 1000
try('ZADD', running, 'XX', string.format('%.3f', deadline), ARGV[3])
return 1
