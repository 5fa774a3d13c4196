-- _begin: the fourth part of turn: the functions that take a job and begin its run. It does nothing by itself.
--
-- KEYS and ARGV: see turn

-- Give the job its tag, unless it is running. Return false if it is running. `again`: it is known not to be running.
local function hand_out(job, number, tag, again)
    local timeout_ms = ARGV[timeouts + number]
    local given = again and try('SET', tag, request_id, 'PX', timeout_ms)
        or try('SET', tag, request_id, 'PX', timeout_ms, 'NX')
    if not given then
        return false
    end
    if given.err then
        if not again then
            -- Put the job back to its place in the queue.
            local queue, members = KEYS[15 + 3 * number], KEYS[16 + 3 * number]
            if type(try('RPUSH', queue, job)) == 'table' then
                try('LPUSH', queue, job)
            end
            try('SADD', members, job)
        end
        call('SET', tag, request_id, 'PX', timeout_ms) -- makes the call fail with the error of the server
    end
    if is_indexed then
        local deadline = string.format('%.3f', now + timeout_ms / 1000)
        try('ZADD', running, deadline, request_id .. '\n' .. KEYS[15 + 3 * number] .. '\n' .. job)
    end
    return true
end

-- Return due time and attempt of a run that begins, or nothing. Another program may have queued the job since P:due was
-- written: then the entry is removed.
local function planned_for(job, again)
    local entry = try('HGET', due_key, job)
    if type(entry) ~= 'string' then
        return nil
    end
    local at, attempt, mark = string.match(entry, '^(%-?[%d.]+e?%+?%d*) (%d+) (%S+)$')
    if at and tonumber(at) and (again or try('HGET', statuses, job) == 'ENQ:' .. mark) then
        return at, attempt
    end
    try('HDEL', due_key, job)
end

-- Return the payload of a run that begins. A payload for this run alone is kept for its further attempts.
local function payload_of(job, attempt, again)
    local present, next_run = '\n\n' .. job, '\n' .. job
    local found = try('HMGET', payloads, present, next_run, job)
    if found.err then
        return nil
    elseif found[1] and (again or attempt) then
        return found[1]
    end
    if found[1] then
        try('HDEL', payloads, present) -- of an earlier run, which had no end
    end
    if found[2] and not again then
        try('HSET', payloads, present, found[2])
        try('HDEL', payloads, next_run)
        return found[2]
    end
    return found[3]
end

-- Take the next job out of a queue. Return the job, false if there is none, or the error of the server. Skip the
-- entries of jobs that were unset in the queue. The second value is true if more such entries may follow.
local function pop(queue, members)
    for _ = 1, 100 do
        if cautions ~= '' and string.find(cautions, 'ask', 1, true) then
            local first = try('LINDEX', queue, -1)
            if type(first) == 'string' then
                call('EXISTS', queue .. '-' .. first)
            end
        end
        local job = try('RPOP', queue)
        if not job then
            return false
        elseif type(job) == 'table' then
            if string.sub(job.err, 1, 9) ~= 'WRONGTYPE' then
                call('RPOP', queue) -- The server accepts no writes. This is not an error of the queue: the call fails.
            end
            return job
        end
        if try('SREM', members, job) ~= 0 then
            return job
        end
        local field = rare().hole(queue, job)
        if type(try('HGET', holes, field)) ~= 'string' then
            return job
        end
        if tonumber(try('HINCRBY', holes, field, -1)) < 1 then
            try('HDEL', holes, field)
        end
    end
    return false, true
end
