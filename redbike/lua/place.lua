-- place: register the schedules of jobs and carry out what they say comes next: of one job, or of many at once.
--
-- KEYS  1 schedules  2 statuses  3 timeline  4 retries  5 memo
--       then for each queue that jobs may enter: the list, its members, its bell
--       then for each job with the number of a queue: its run tag
-- ARGV  1 now, Unix seconds; '' for the server's time
--       2 wake channel
--       3 nonce; '' for none. Those of one caller grow, and the memo is the caller's: a call changes nothing where it has
--         this nonce, for it was carried out, or a later one, for it was held up
--       4 'yes' to leave the nonce in the memo
--       5 what for: 'register'; 'reset': only jobs that are in no place, and have this schedule already; 'run': leave
--         schedule and timeline as they are (a run by hand)
--       6 number of queues
--       then for each job, and none is named twice: its id; the schedule text; what comes next, which is 'queue', 'at',
--       'stop' or 'bad'; for 'at' the due time, Unix seconds; the number of its queue, '' where it enters none
-- Returns the time of the call, whole Unix seconds and microseconds (0 where ARGV gives it), parted by a blank;
--         false where 'reset' found no job to be put back.

local schedules, statuses, timeline, retries, memo = unpack(KEYS, 1, 5)
local given_now, channel, nonce, purpose = ARGV[1], ARGV[2], ARGV[3], ARGV[5]
local call, try = redis.call, redis.pcall

-- A key of a wrong type fails the call here, before its first write.
call('HLEN', schedules)
call('ZCARD', timeline)
if #ARGV > 11 then -- several jobs: all are placed, or none
    for at = 6, 3 + 3 * ARGV[6], 3 do
        call('LLEN', KEYS[at])
        call('SCARD', KEYS[at + 1])
    end
end

local second, microsecond
if given_now == '' then
    local time = call('TIME')
    second, microsecond = time[1], time[2]
else
    second, microsecond = string.format('%d', math.floor(given_now)), '0'
end

-- A one-off that ran between the lost reply and its repetition must not run again, and no set undo a later one.
if nonce ~= '' then
    local latest = try('GET', memo)
    if type(latest) == 'string' and string.sub(latest, 1, #nonce) >= nonce then
        return second .. ' ' .. microsecond
    end
    if ARGV[4] == 'yes' then
        call('SET', memo, nonce, 'EX', '60')
    end
end

-- Others may have left a job in the set that is not in the list; a short list is looked through.
local function is_in_list(job, queue)
    return call('LLEN', queue) > 100 or call('LPOS', queue, job) ~= false
end

local function is_lost(job, text, tag, queue, members)
    local is_placed = call('ZSCORE', timeline, job)
        or call('EXISTS', tag) == 1
        or (call('SISMEMBER', members, job) == 1 and is_in_list(job, queue))
    return not is_placed and call('HGET', schedules, job) == text
end

-- Puts a job into its queue, or where it is running on the timeline: the end of the run, or of its time, lets it go.
local function enqueue(job, tag, queue, members, bell)
    if call('EXISTS', tag) == 1 then
        call('ZADD', timeline, second, job)
        return 'TML:'
    end
    if call('SADD', members, job) == 1 or not is_in_list(job, queue) then
        if type(try('LPUSH', queue, job)) == 'table' then
            try('SREM', members, job)
            call('LPUSH', queue, job) -- fails the call in its own words
        end
    end
    if call('EXISTS', bell) == 0 then
        try('LPUSH', bell, '1')
    end
    if purpose ~= 'run' then
        call('ZREM', timeline, job)
    end
    return 'ENQ:'
end

local registered, status, due_jobs, jobs, earliest = {}, {}, {}, {}, nil
local next_tag = 6 + 3 * ARGV[6]
for at = 7, #ARGV, 5 do
    local job, text, plan, due, number = unpack(ARGV, at, at + 4)
    local tag, queue, members, bell
    if number ~= '' then
        tag, next_tag = KEYS[next_tag], next_tag + 1
        queue, members, bell = unpack(KEYS, 3 + 3 * number, 5 + 3 * number)
    end
    if purpose ~= 'reset' or is_lost(job, text, tag, queue, members) then
        local event
        if plan == 'queue' then
            event = enqueue(job, tag, queue, members, bell)
        elseif plan == 'at' then
            local count = #due_jobs
            due_jobs[count + 1], due_jobs[count + 2] = due, job
            earliest = math.min(earliest or math.huge, due)
            event = 'TML:'
        else
            call('ZREM', timeline, job)
            event = plan == 'stop' and 'STP:' or 'BAD:'
        end
        local count = #status
        registered[count + 1], registered[count + 2] = job, text
        status[count + 1], status[count + 2] = job, event .. second
        jobs[#jobs + 1] = job
    end
end
if earliest then
    -- A sleeping dispatcher looks by itself once a second.
    local first = earliest < second + 2 and call('ZRANGE', timeline, 0, 0, 'WITHSCORES')
    call('ZADD', timeline, unpack(due_jobs))
    if first and (not first[2] or earliest < tonumber(first[2])) then
        try('PUBLISH', channel, '')
    end
end
if not jobs[1] then
    return false
end
if purpose ~= 'run' then
    call('HSET', schedules, unpack(registered))
    try('HDEL', retries, unpack(jobs))
end
-- A hash of a wrong type loses the status, and no job.
try('HSET', statuses, unpack(status))
return second .. ' ' .. microsecond
