-- _common: the second part of every script: what several of them do. It does nothing by itself.
--
-- KEYS  1 to 8: see _keys

local looked_at = 0 -- entries that this call has looked through

-- The error text of a reply, or nothing.
local function fault(reply)
    return type(reply) == 'table' and reply.err
end

-- The time of the call: whole Unix seconds and microseconds, both as text. `given` is '' for the server's time.
local function read_clock(given)
    if given == '' then
        local time = call('TIME')
        return time[1], time[2]
    end
    return string.format('%d', math.floor(given)), '0'
end

-- The string under a key; false where there is no key, nil where it is of another type. Any other error fails the call:
-- a server that refuses to answer has not said that there is nothing.
local function get(key)
    local value = try('GET', key)
    if not fault(value) then
        return value
    end
    if string.sub(value.err, 1, 9) ~= 'WRONGTYPE' then
        call('GET', key)
    end
    return nil
end

-- How the call that a client noted last compares with this one: 'same', 'newer', or nothing. `noted` is its memo.
-- Counted as numbers, because the order of texts is that of the server's locale.
local function compare(noted, nonce)
    if not noted then
        return nil
    elseif string.sub(noted, 1, #nonce) == nonce then
        return 'same'
    end
    local last, this = tonumber(string.sub(noted, 17, 28), 16), tonumber(string.sub(nonce, 17, 28), 16)
    return last and this and last > this and 'newer' or nil
end

-- The field of P:holes that counts the entries of an unset job that are still in a list, and are skipped there.
local function hole(queue, job)
    return queue .. '\n' .. job
end

-- Whether a job of the set is in the list: true, false, or nil where this call has looked through enough already, or the
-- list cannot be read (then the error follows). Other programs may leave a job in the set that is not in the list: the
-- sizes show it, and a short list is looked through in any case.
local function is_in_list(queue, members, job)
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

-- After a push to the left end: take the new entry out again where the job was in the list before, and not in the set.
-- `length` is that of the list; returns it as it is then. Only then is the list longer than the set.
local function drop_if_twice(queue, members, job, length)
    if length > call('SCARD', members) and looked_at < MOST_LOOKED_AT then
        local skipped = try('HLEN', holes)
        if length - (fault(skipped) and 0 or skipped) > call('SCARD', members) then
            looked_at = looked_at + math.min(length, NEAR)
            if call('LPOS', queue, job, 'RANK', 2, 'MAXLEN', NEAR) then
                call('LREM', queue, 1, job)
                return length - 1
            end
        end
    end
    return length
end

-- Put a job into a queue, where it is once. Returns the length of the list; or nil and why not: an error, or 'later'.
local function enter(job, queue, members)
    local added = try('SADD', members, job)
    if fault(added) then
        return nil, added.err
    end
    if added == 0 then
        local is_there, why = is_in_list(queue, members, job)
        if is_there == nil then
            return nil, why
        elseif is_there then
            return call('LLEN', queue)
        end
    end
    local length = try('LPUSH', queue, job)
    if fault(length) then
        try('SREM', members, job)
        return nil, length.err
    end
    return added == 1 and drop_if_twice(queue, members, job, length) or length
end

-- Wake an idle worker, unless a token lies there that will.
local function ring(bell)
    if call('EXISTS', bell) == 0 then
        try('LPUSH', bell, '1')
    end
end

-- Plan a run for as soon as the present one is over. What the timeline has for later stays there.
local function run_soon(job, second)
    local due = call('ZSCORE', timeline, job)
    if not due or tonumber(due) <= tonumber(second) or fault(try('ZADD', extra, 'LT', second, job)) then
        call('ZADD', timeline, second, job)
    end
end

-- Whether an extra run of the job is planned.
local function has_extra(job)
    local due = try('ZSCORE', extra, job)
    return due and not fault(due)
end
