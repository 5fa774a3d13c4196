-- _common: the second part of every script: the functions that several scripts use. It does nothing by itself.
--
-- KEYS  1 to 16: see _keys
--
-- Lua makes every function again in each call. So `rare` makes the functions that few calls need, when they are needed.

local looked_at = 0 -- entries that this call has looked through

-- Compare the last call of a client with this call: 'same', 'newer', or nothing. `noted` is the memo of the client,
-- read by MGET, which treats a key of another type as missing. Ids are compared as numbers, because the order of texts
-- depends on the server's locale.
local function compare(noted, request_id)
    if not noted then
        return nil
    end
    local last, this = tonumber(string.sub(noted, 17, 28), 16), tonumber(string.sub(request_id, 17, 28), 16)
    if last and this and last < this then
        return nil -- the usual case
    elseif string.sub(noted, 1, #request_id) == request_id then
        return 'same'
    end
    return last and this and last > this and 'newer' or nil
end

-- The functions that few calls need.
local function rare()
    local SHORT = 100 -- entries: to search a list of this length costs almost nothing
    local MOST_LOOKED_AT = 200000 -- entries: one call searches so many, and leaves the rest to a later call
    local NEAR = 10000 -- entries: the search for a second entry of a job ends after so many
    local functions = {}

    -- The error text of a reply, or nothing.
    local function fault(reply)
        return type(reply) == 'table' and reply.err
    end

    -- Return the field of P:holes that counts the entries of an unset job that remain in a list, to be skipped.
    function functions.hole(queue, job)
        return queue .. '\n' .. job
    end

    -- Return whether a job of the set is in the list: true, false, or nil and the reason. The reason is 'later' if this
    -- call has searched enough entries, else the error of a list that cannot be read. Other programs may leave a job in
    -- the set that is not in the list. The sizes of both show that. A short list is searched in any case.
    function functions.is_in_list(queue, members, job)
        local length = try('LLEN', queue)
        if fault(length) then
            return nil, length.err
        end
        if length > SHORT then
            local skipped = try('HLEN', holes)
            if call('SCARD', members) <= length - (fault(skipped) and 0 or skipped) then
                return true
            end
        end
        if looked_at > 0 and looked_at + length > MOST_LOOKED_AT then
            return nil, 'later'
        end
        looked_at = looked_at + length
        return call('LPOS', queue, job) ~= false
    end

    -- After a push to the left end, remove the new entry if the job was already in the list, but not in the set. This
    -- is possible only if the list is longer than the set (`length`, `size`). Return the new length of the list.
    function functions.drop_if_twice(queue, size, job, length)
        if length > size and looked_at < MOST_LOOKED_AT then
            local skipped = try('HLEN', holes)
            if length - (fault(skipped) and 0 or skipped) > size then
                looked_at = looked_at + math.min(length, NEAR)
                if call('LPOS', queue, job, 'RANK', 2, 'MAXLEN', NEAR) then
                    call('LREM', queue, 1, job)
                    return length - 1
                end
            end
        end
        return length
    end

    -- Plan a run for the end of the present run. A later run on the timeline stays there.
    function functions.run_soon(job, second, microsecond)
        local due = call('ZSCORE', timeline, job)
        if not due or tonumber(due) <= second + microsecond / 1000000 or fault(try('ZADD', extra, 'LT', second, job)) then
            call('ZADD', timeline, second, job)
        end
    end

    -- Take a job out of its queue. In a long list, its entry stays, and the worker that comes to the entry skips it.
    -- Return whether the job was in the queue.
    function functions.leave(queue, members, job)
        if try('SREM', members, job) ~= 1 then
            return false
        end
        local length = call('LLEN', queue)
        if length <= 10 * SHORT then
            return call('LREM', queue, 0, job) > 0
        elseif functions.is_in_list(queue, members, job) ~= false then
            if type(try('HINCRBY', holes, functions.hole(queue, job), 1)) == 'table' then
                call('LREM', queue, 1, job)
            end
            return true
        end
        return false
    end

    -- Return the names of the queues that are held, as the keys of a table. '' is the name of the whole prefix.
    -- `holding` is the content of P:held.
    function functions.held_names(holding)
        local is_read, names = pcall(cjson.decode, holding)
        return is_read and type(names) == 'table' and names or {}
    end

    -- Return whether an extra run of the job is planned.
    function functions.has_extra(job)
        local due = try('ZSCORE', extra, job)
        return due and not fault(due)
    end

    return functions
end

-- Return whether a schedule text pauses its job.
local function is_paused(text)
    return text and string.find(text, '^%s*PAUSED:') ~= nil
end

-- Put a job into a queue, unless it is there. Return the length of the list, or nil and the reason: an error, or
-- 'later'. The third value is true if the job was there already.
local function enter(job, queue, members)
    local added = try('SADD', members, job)
    if added == 0 then
        local is_there, why = rare().is_in_list(queue, members, job)
        if is_there == nil then
            return nil, why
        elseif is_there then
            return call('LLEN', queue), nil, true
        end
    elseif added ~= 1 then
        return nil, added.err
    end
    local length = try('LPUSH', queue, job)
    if type(length) == 'table' then
        try('SREM', members, job)
        return nil, length.err
    end
    if added == 1 and length > 1 then
        local size = call('SCARD', members)
        if length > size then
            return rare().drop_if_twice(queue, size, job, length)
        end
    end
    return length
end

-- Wake an idle worker, unless the bell has a token already.
local function ring(bell)
    if call('EXISTS', bell) == 0 then
        try('LPUSH', bell, '1')
    end
end
