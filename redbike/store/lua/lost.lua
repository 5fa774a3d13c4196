-- lost: find which of these jobs are in no place: in no queue, not on the timeline, not running.
--
-- KEYS  1 to 16: see _keys
--       then for each queue: the list, its members
--       then for each job: its run tag
-- ARGV  1 number of queues
--       then for each job: its id, and the number of its queue
-- Returns the number of jobs looked at, from the first job on: another call has to look at the others. Then id and
--         status ('' for no status) of each registered job that is in no place.

local rare = rare()
local queues = tonumber(ARGV[1])
local lost = { (#ARGV - 1) / 2 }
for i = 1, lost[1] do
    local job, number = ARGV[2 * i], tonumber(ARGV[2 * i + 1])
    local queue, members = KEYS[15 + 2 * number], KEYS[16 + 2 * number]
    local tag = KEYS[16 + 2 * queues + i]
    local placed = call('ZSCORE', timeline, job)
        or rare.has_extra(job)
        or call('EXISTS', tag) == 1
    if not placed and call('SISMEMBER', members, job) == 1 then
        local why
        placed, why = rare.is_in_list(queue, members, job)
        if why == 'later' then
            lost[1] = i - 1
            return lost
        elseif why then
            call('LLEN', queue) -- makes the call fail with the error of the server
        end
    end
    if not placed and call('HEXISTS', schedules, job) == 1 then
        lost[#lost + 1] = job
        lost[#lost + 1] = call('HGET', statuses, job) or ''
    end
end
return lost
