-- place: register the schedules of one or many jobs, and carry out the next action of each.
--
-- KEYS  1 to 16: see _keys  17 P:memo:CLIENT
--       then for each queue that jobs may enter: the list, its members, its bell
--       then for each job with the number of a queue: its run tag
--       then for 'load': P:loaded
-- ARGV  1 now, Unix seconds; '' for the server's time
--       2 wake channel
--       3 request id; '' for none. The ids of one client grow, and each client has its own memo. A call changes nothing
--         if the memo has this id (the call was carried out), or a later id (the call was delayed)
--       4 how long the memo keeps the id, seconds; '' if it does not keep the id
--       5 'yes' if an earlier call with this id may have been carried out
--       6 purpose: 'register'; 'reset': only jobs that are in no place, and have this schedule already; 'run': leave
--         schedule and timeline unchanged (an extra run); 'resume': only a job that has the schedule in ARGV 7;
--         'carry': change nothing but the payloads of registered jobs; 'load': as 'register', for jobs from a file
--       7 for 'resume': the schedule text of the paused job; else ''
--       8 number of queues
--       then for each job, and no job twice: its id; the schedule text; the action, which is 'queue', 'at', 'stop',
--       'pause' (also leave the queue) or 'bad'; for 'at' the due time, Unix seconds; the number of its queue, '' if it
--       neither enters nor leaves a queue; its payload after a '+', '-' to remove its payload, '' to leave it
--       for 'load', also for each job: its note for P:loaded; the note that it must have now, '' for none, '*' for any
-- Returns the time of the call, whole Unix seconds and microseconds (0 if ARGV gives it), separated by a blank;
--         'outdated' if nothing was changed, because the memo has a later call of this client, or has this call,
--         although ARGV 5 is not 'yes'; false if 'reset' found no job that is in no place, if 'resume' found another
--         schedule, if 'run' found a paused job, if 'carry' found no registered job, and if 'load' found other notes.

local memo = KEYS[17]
local given_now, channel, request_id, keep_s, repeated, purpose, paused_text, queues = unpack(ARGV, 1, 8)

-- A key of a wrong type makes the call fail here, before its first write.
call('HLEN', schedules)
call('ZCARD', timeline)
local loaded = purpose == 'load' and KEYS[#KEYS]
if loaded then
    call('HLEN', loaded)
end
for at = 18, 15 + 3 * queues, 3 do
    call('LLEN', KEYS[at])
    call('SCARD', KEYS[at + 1])
end
for at = 14, #ARGV, 6 do
    if ARGV[at] ~= '' then
        call('HLEN', payloads)
        break
    end
end

-- The time of the call: whole Unix seconds and microseconds, both as text.
local second, microsecond
if given_now == '' then
    local time = call('TIME')
    second, microsecond = time[1], time[2]
else
    second, microsecond = string.format('%d', math.floor(given_now)), '0'
end

-- A one-off job that ran between the lost reply and the repeated call must not run again. No set may undo a later set.
local noted = note_call(memo, request_id, keep_s, repeated)
if noted then
    return noted == 'same' and second .. ' ' .. microsecond or noted
end

local function is_lost(job, text, tag, queue, members)
    local rare = rare()
    local is_placed = call('ZSCORE', timeline, job)
        or rare.has_extra(job)
        or call('EXISTS', tag) == 1
        or (call('SISMEMBER', members, job) == 1 and rare.is_in_list(queue, members, job) ~= false)
    return not is_placed and call('HGET', schedules, job) == text
end

local registered, status, jobs, carried, planned, notes = {}, {}, {}, {}, {}, {}
local due_jobs, earliest, off_the_timeline = {}, nil, {}

local function put_on_the_timeline(job, due)
    local count = #due_jobs
    due_jobs[count + 1], due_jobs[count + 2] = due, job
    earliest = math.min(earliest or math.huge, due)
    return 'TML:'
end

-- Put a job into its queue. Put a running job on the timeline instead: it runs again when its present run is over.
local function enqueue(job, tag, queue, members, bell)
    if call('EXISTS', tag) == 1 then
        if purpose ~= 'run' then
            return put_on_the_timeline(job, second)
        end
        rare().run_soon(job, second, microsecond)
        return 'TML:'
    end
    local length, why, was_there = enter(job, queue, members)
    if why == 'later' then
        return put_on_the_timeline(job, second)
    elseif not length then
        call('LPUSH', queue, job) -- makes the call fail with the error of the server
    end
    ring(bell)
    if purpose ~= 'run' then
        off_the_timeline[#off_the_timeline + 1] = job
    end
    local first = string.format('%s.%03d 1', second, microsecond / 1000)
    if was_there then
        -- The queued run keeps its due time. Its entry names the second of the new status.
        local entry = try('HGET', due_key, job)
        local kept, mark = string.match(type(entry) == 'string' and entry or '', '^(%S+ %d+) (%S+)$')
        if kept and try('HGET', statuses, job) == 'ENQ:' .. mark then
            first = kept
        end
    end
    local count = #planned
    planned[count + 1], planned[count + 2] = job, first .. ' ' .. second
    return 'ENQ:'
end

-- Return whether this call concerns the job.
local function concerns(job, text, tag, queue, members, former)
    if purpose == 'reset' then
        return is_lost(job, text, tag, queue, members)
    elseif purpose == 'resume' then
        return call('HGET', schedules, job) == paused_text
    elseif purpose == 'carry' then
        return call('HEXISTS', schedules, job) == 1
    elseif loaded then
        return former == '*' or (call('HGET', loaded, job) or '') == former
    end
    return purpose ~= 'run' or not is_paused(call('HGET', schedules, job))
end

-- Keep the payload of a job. An extra run has its own payload.
local function carry(job, payload)
    local field = purpose == 'run' and '\n' .. job or job
    if payload == '-' then
        try('HDEL', payloads, field)
    elseif payload ~= '' then
        local count = #carried
        carried[count + 1], carried[count + 2] = field, string.sub(payload, 2)
    end
end

local next_tag = 18 + 3 * queues
local width = loaded and 8 or 6
for at = 9, #ARGV, width do
    local job, text, plan, due, number, payload, note, former = unpack(ARGV, at, at + width - 1)
    local tag, queue, members, bell
    if number ~= '' then
        tag, next_tag = KEYS[next_tag], next_tag + 1
        queue, members, bell = unpack(KEYS, 15 + 3 * number, 17 + 3 * number)
    end
    if concerns(job, text, tag, queue, members, former) then
        local event
        if plan == 'queue' then
            event = enqueue(job, tag, queue, members, bell)
        elseif plan == 'at' then
            event = put_on_the_timeline(job, due)
        elseif purpose ~= 'carry' then
            if plan == 'pause' then
                rare().leave(queue, members, job)
            end
            off_the_timeline[#off_the_timeline + 1] = job
            event = plan == 'bad' and 'BAD:' or 'STP:'
        end
        if event then
            local count = #status
            registered[count + 1], registered[count + 2] = job, text
            status[count + 1], status[count + 2] = job, event .. second
        end
        jobs[#jobs + 1] = job
        carry(job, payload)
        if loaded then
            local count = #notes
            notes[count + 1], notes[count + 2] = job, note
        end
    end
end
if not jobs[1] then
    return false
end
-- Write the schedule first. If that fails, a job that had already left the timeline would not run any more.
if registered[1] and purpose ~= 'run' then
    if call('EXISTS', payloads) == 1 then
        -- An enqueued run with a separate payload happens only if it is in the queue already.
        for i = 1, #jobs do
            local latest = try('HGET', statuses, jobs[i])
            if type(latest) ~= 'string' or string.sub(latest, 1, 4) ~= 'ENQ:' then
                try('HDEL', payloads, '\n' .. jobs[i])
            end
        end
    end
    call('HSET', schedules, unpack(registered))
    try('HDEL', retries, unpack(jobs))
    try('ZREM', extra, unpack(jobs))
    try('HDEL', pauses, unpack(jobs))
    try('ZREM', resume, unpack(jobs))
end
if notes[1] then
    call('HSET', loaded, unpack(notes))
end
if off_the_timeline[1] then
    call('ZREM', timeline, unpack(off_the_timeline))
end
if earliest then
    -- A sleeping dispatcher looks once per second even without a message.
    local first = earliest < second + 2 and call('ZRANGE', timeline, 0, 0, 'WITHSCORES')
    call('ZADD', timeline, unpack(due_jobs))
    if first and (not first[2] or earliest < tonumber(first[2])) then
        try('PUBLISH', channel, '')
    end
end
if planned[1] then
    try('HSET', due_key, unpack(planned))
end
-- If the hash has a wrong type, the status is lost, but no job.
if status[1] then
    try('HSET', statuses, unpack(status))
end
if carried[1] then
    call('HSET', payloads, unpack(carried))
end
return second .. ' ' .. microsecond
