-- _common: the second part of every script: what several of them do. It does nothing by itself.
--
-- KEYS  1 to 8: see _keys
--
-- Lua makes every function anew in each call. What few calls need is therefore made by `seldom`, where it is needed.

local looked_at = 0 -- entries that this call has looked through

-- How the call that a client noted last compares with this one: 'same', 'newer', or nothing. `noted` is its memo, read by
-- MGET, which says of a key of another type that there is nothing.
-- Counted as numbers, because the order of texts is that of the server's locale.
local function compare(noted, nonce)
    if not noted then
        return nil
    end
    local last, this = tonumber(string.sub(noted, 17, 28), 16), tonumber(string.sub(nonce, 17, 28), 16)
    if last and this and last < this then
        return nil -- as a rule
    elseif string.sub(noted, 1, #nonce) == nonce then
        return 'same'
    end
    return last and this and last > this and 'newer' or nil
end

-- The functions that few calls need.
local function seldom()
    local SHORT = 100 -- entries: looking through a list of that length costs next to nothing
    local MOST_LOOKED_AT = 200000 -- entries: what one call looks through before it leaves the rest to a later call
    local NEAR = 10000 -- entries: how far to look for a second entry of a job
    local functions = {}

    -- The error text of a reply, or nothing.
    local function fault(reply)
        return type(reply) == 'table' and reply.err
    end

    -- The field of P:holes that counts the entries of an unset job that are still in a list, and are skipped there.
    function functions.hole(queue, job)
        return queue .. '\n' .. job
    end

    -- Whether a job of the set is in the list: true, false, or nil where this call has looked through enough already, or
    -- the list cannot be read (then the error follows). Other programs may leave a job in the set that is not in the
    -- list: the sizes show it, and a short list is looked through in any case.
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

    -- After a push to the left end: take the new entry out again where the job was in the list before, and not in the
    -- set. `length` is that of the list, and `size` that of the set: only if the list is longer can it be so. Returns
    -- the length of the list as it is then.
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

    -- Plan a run for as soon as the present one is over. What the timeline has for later stays there.
    function functions.run_soon(job, second)
        local due = call('ZSCORE', timeline, job)
        if not due or tonumber(due) <= tonumber(second) or fault(try('ZADD', extra, 'LT', second, job)) then
            call('ZADD', timeline, second, job)
        end
    end

    -- Whether an extra run of the job is planned.
    function functions.has_extra(job)
        local due = try('ZSCORE', extra, job)
        return due and not fault(due)
    end

    return functions
end

-- Put a job into a queue, where it is once. Returns the length of the list; or nil and why not: an error, or 'later'.
local function enter(job, queue, members)
    local added = try('SADD', members, job)
    if added == 0 then
        local is_there, why = seldom().is_in_list(queue, members, job)
        if is_there == nil then
            return nil, why
        elseif is_there then
            return call('LLEN', queue)
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
            return seldom().drop_if_twice(queue, size, job, length)
        end
    end
    return length
end

-- Wake an idle worker, unless a token lies there that will.
local function ring(bell)
    if call('EXISTS', bell) == 0 then
        try('LPUSH', bell, '1')
    end
end
