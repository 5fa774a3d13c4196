-- place: register the schedules of jobs and carry out what they say comes next: of one job, or of many at once.
--
-- KEYS  1 to 8: see _keys  9 P:memo:CALLER
--       then for each queue that jobs may enter: the list, its members, its bell
--       then for each job with the number of a queue: its run tag
-- ARGV  1 now, Unix seconds; '' for the server's time
--       2 wake channel
--       3 nonce; '' for none. Those of one caller grow, and the memo is the caller's: a call changes nothing where the memo
--         has this nonce, because it was carried out, or a later one, because it was held up
--       4 how long the memo keeps the nonce, seconds; '' for not at all
--       5 'yes' where an earlier call with this nonce may have been carried out
--       6 what for: 'register'; 'reset': only jobs that are in no place, and have this schedule already; 'run': leave
--         schedule and timeline as they are (an extra run)
--       7 number of queues
--       then for each job, and none is named twice: its id; the schedule text; what comes next, which is 'queue', 'at',
--       'stop' or 'bad'; for 'at' the due time, Unix seconds; the number of its queue, '' where it enters none
-- Returns the time of the call, whole Unix seconds and microseconds (0 where ARGV gives it), parted by a blank;
--         'outdated' where nothing was changed, because this caller has made a later call, or this very one, which is
--         not a repetition; false where 'reset' found no job to be put back.

local memo = KEYS[9]
local given_now, channel, nonce, keep_s, repeated, purpose, queues = unpack(ARGV, 1, 7)

-- A key of a wrong type fails the call here, before its first write.
call('HLEN', schedules)
call('ZCARD', timeline)
for at = 10, 7 + 3 * queues, 3 do
    call('LLEN', KEYS[at])
    call('SCARD', KEYS[at + 1])
end

-- The time of the call: whole Unix seconds and microseconds, both as text.
local second, microsecond
if given_now == '' then
    local time = call('TIME')
    second, microsecond = time[1], time[2]
else
    second, microsecond = string.format('%d', math.floor(given_now)), '0'
end

-- A one-off that ran between the lost reply and its repetition must not run again, and no set undo a later one.
if nonce ~= '' then
    local noted = compare(call('MGET', memo)[1], nonce)
    if noted == 'same' and repeated == 'yes' then
        return second .. ' ' .. microsecond
    elseif noted then
        return 'outdated'
    end
    if keep_s ~= '' then
        call('SET', memo, nonce, 'EX', keep_s)
    end
end

local function is_lost(job, text, tag, queue, members)
    local rare = seldom()
    local is_placed = call('ZSCORE', timeline, job)
        or rare.has_extra(job)
        or call('EXISTS', tag) == 1
        or (call('SISMEMBER', members, job) == 1 and rare.is_in_list(queue, members, job) ~= false)
    return not is_placed and call('HGET', schedules, job) == text
end

local registered, status, jobs = {}, {}, {}
local due_jobs, earliest, off_the_timeline = {}, nil, {}

local function put_on_the_timeline(job, due)
    local count = #due_jobs
    due_jobs[count + 1], due_jobs[count + 2] = due, job
    earliest = math.min(earliest or math.huge, due)
    return 'TML:'
end

-- Put a job into its queue, or where it is running on the timeline: it runs again when that run is over.
local function enqueue(job, tag, queue, members, bell)
    if call('EXISTS', tag) == 1 then
        if purpose ~= 'run' then
            return put_on_the_timeline(job, second)
        end
        seldom().run_soon(job, second)
        return 'TML:'
    end
    local length, why = enter(job, queue, members)
    if why == 'later' then
        return put_on_the_timeline(job, second)
    elseif not length then
        call('LPUSH', queue, job) -- fails the call in its own words
    end
    ring(bell)
    if purpose ~= 'run' then
        off_the_timeline[#off_the_timeline + 1] = job
    end
    return 'ENQ:'
end

local next_tag = 10 + 3 * queues
for at = 8, #ARGV, 5 do
    local job, text, plan, due, number = unpack(ARGV, at, at + 4)
    local tag, queue, members, bell
    if number ~= '' then
        tag, next_tag = KEYS[next_tag], next_tag + 1
        queue, members, bell = unpack(KEYS, 7 + 3 * number, 9 + 3 * number)
    end
    if purpose ~= 'reset' or is_lost(job, text, tag, queue, members) then
        local event
        if plan == 'queue' then
            event = enqueue(job, tag, queue, members, bell)
        elseif plan == 'at' then
            event = put_on_the_timeline(job, due)
        else
            off_the_timeline[#off_the_timeline + 1] = job
            event = plan == 'stop' and 'STP:' or 'BAD:'
        end
        local count = #status
        registered[count + 1], registered[count + 2] = job, text
        status[count + 1], status[count + 2] = job, event .. second
        jobs[#jobs + 1] = job
    end
end
if not jobs[1] then
    return false
end
-- The schedule first: a job that left the timeline before a schedule that could not be written would run no more.
if purpose ~= 'run' then
    call('HSET', schedules, unpack(registered))
    try('HDEL', retries, unpack(jobs))
    try('ZREM', extra, unpack(jobs))
end
if off_the_timeline[1] then
    call('ZREM', timeline, unpack(off_the_timeline))
end
if earliest then
    -- A sleeping dispatcher looks by itself once a second.
    local first = earliest < second + 2 and call('ZRANGE', timeline, 0, 0, 'WITHSCORES')
    call('ZADD', timeline, unpack(due_jobs))
    if first and (not first[2] or earliest < tonumber(first[2])) then
        try('PUBLISH', channel, '')
    end
end
-- A hash of a wrong type loses the status, and no job.
try('HSET', statuses, unpack(status))
return second .. ' ' .. microsecond
