-- lost: which of these jobs are in no place: in no queue, not on the timeline, not running.
--
-- KEYS  1 timeline  2 schedules  3 statuses
--       then for each queue: the list, its members
--       then for each job: its run tag
-- ARGV  1 number of queues
--       then for each job: its id, and the number of its queue
-- Returns id and status ('' where there is none) of each registered one that is nowhere, one after the other.

local timeline, schedules, statuses = unpack(KEYS, 1, 3)
local queues = tonumber(ARGV[1])
local lost = {}
for i = 1, (#ARGV - 1) / 2 do
    local job, number = ARGV[2 * i], tonumber(ARGV[2 * i + 1])
    local queue, members = KEYS[2 + 2 * number], KEYS[3 + 2 * number]
    local tag = KEYS[3 + 2 * queues + i]
    local placed = redis.call('ZSCORE', timeline, job) or redis.call('EXISTS', tag) == 1
    if not placed and redis.call('SISMEMBER', members, job) == 1 then
        -- Others may have left a job in the set that is not in the list; a short list is looked through.
        placed = redis.call('LLEN', queue) > 100 or redis.call('LPOS', queue, job)
    end
    if not placed and redis.call('HEXISTS', schedules, job) == 1 then
        lost[#lost + 1] = job
        lost[#lost + 1] = redis.call('HGET', statuses, job) or ''
    end
end
return lost
