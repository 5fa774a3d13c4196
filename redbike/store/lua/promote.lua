-- promote: move due jobs from the timeline into their queues, then return which jobs are due next. Each job is checked
-- again, so any number of dispatchers may race.
--
-- KEYS  1 to 16: see _keys  17 from: P-timeline, or P:extra, which is handled in the same way
--       then for each queue: the list, its members, its bell
--       then for each job, queue by queue: its run tag, which is the key of the list, a dash and the job id
-- ARGV  1 the time up to which jobs are due, Unix seconds; '' for the server's time. Statuses carry the server's time
--       2 the most due jobs to return
--       3 number of queues
--       then for each queue: the number of its jobs, and the seconds after which they are due again if the queue cannot
--       take them
--       then ids of jobs that no queue can take: these become BAD
-- Returns one text, because a reply of many parts is slow to read. Its lines:
--          1 the time of the call, Unix seconds; 1 if the prefix is halted, else 0; number of jobs queued; number of
--            failures
--          2 if the ids below cannot be separated by line breaks: their lengths, bytes; else ''
--          3 '' if jobs are due, or the timeline is empty; else the due time of the next job, Unix seconds
--          then for each queue or job that failed: the number of the queue, and the error
--       Then the ids of the jobs due next, a line each, or joined. If no job is due, the id of the next job.

local from = KEYS[17]
local queues = tonumber(ARGV[3])

local time = call('TIME')
local second, clock = time[1], time[1] .. string.format('.%06d', time[2])
local now = tonumber(ARGV[1])
if now then
    clock = ARGV[1]
else
    now = tonumber(clock)
end
local queued_now, bad_now = 'ENQ:' .. second, 'BAD:' .. second
local queued, failures = 0, {}
local status, postponed = {}, {}
local signal, holding = unpack(call('MGET', control, held))
local halted, is_paused_whole = signal == 'HALT' and 1 or 0, holding and rare().held_names(holding)[''] ~= nil
local score_of = {} -- of the jobs that are due, as text

local function postpone(job, delay_s)
    local count = #postponed
    postponed[count + 1], postponed[count + 2] = string.format('%.3f', now + delay_s), job
end

-- Return the entry of P:due for a job that enters its queue. A run that was put back keeps its due time.
local function planned_as(score, former)
    local at, attempt, mark = string.match(former or '', '^(%S+) (%d+) k(%S+)$')
    if not at or tonumber(mark) ~= tonumber(score) then
        local is_no_time = tonumber(score) == 0 or score == '-inf'
        at, attempt = is_no_time and clock or string.format('%.17g', score), 1 -- the server may write 1.5e+9
    end
    return at .. ' ' .. attempt .. ' ' .. second
end

-- A queue cannot take jobs. They are due again later, at different times, so that they do not delay other jobs.
local function put_off(number, why, due, delay_s)
    failures[#failures + 1] = number .. ' ' .. why
    for i = 1, #due do
        postpone(due[i], delay_s * (0.5 + (i - 0.5) / #due))
        -- The run keeps its due time: its entry names the new score.
        local former = try('HGET', due_key, due[i])
        local entry = planned_as(score_of[due[i]], type(former) == 'string' and former)
        try('HSET', due_key, due[i], string.match(entry, '^%S+ %d+') .. ' k' .. postponed[#postponed - 1])
    end
end

-- The run tag of a due job exists: the job is running, unless the key is not a run tag.
local function pass_over(job, number, tag)
    local kind = call('TYPE', tag).ok
    if kind == 'none' then
        return false
    elseif kind ~= 'string' or call('GET', tag) == 'HALT' then
        call('ZREM', from, job)
        local count = #status
        status[count + 1], status[count + 2] = job, bad_now
        failures[#failures + 1] = number .. ' a job is BAD, because its run tag would be a key that has another use: '
            .. string.gsub(string.sub(job, 1, 100), '%c', '?')
        return true
    end
    -- A tag that never expires would block the job for good.
    if call('PTTL', tag) == -1 then
        call('PEXPIRE', tag, 10000)
    end
    postpone(job, math.floor(now) + 1 - now)
    return true
end

-- Return the jobs of one queue that are still due and not running.
local function still_due(number, first, last)
    local ids, tags = {}, { unpack(KEYS, first, last) }
    local skip = #KEYS[15 + 3 * number] + 2
    for i = 1, #tags do
        ids[i] = string.sub(tags[i], skip)
    end
    local scores = call('ZMSCORE', from, unpack(ids))
    local some_run = call('EXISTS', unpack(tags)) > 0
    local due, count = {}, 0
    for i = 1, #ids do
        local score = scores[i] and tonumber(scores[i])
        if score and score <= now and not is_paused_whole and not (some_run and pass_over(ids[i], number, tags[i])) then
            count = count + 1
            due[count] = ids[i]
            score_of[ids[i]] = scores[i]
        end
    end
    return due
end

-- Return the jobs that have to enter the list, and the jobs that leave the timeline. `known` says for each job whether
-- it is in the set. A job in the set is in the list, unless the sizes show that the list lacks some jobs of the set. If
-- the list cannot be read, return nil, nil and the error.
local function not_in_list(queue, members, due, known)
    local is_any_known = false
    for i = 1, #known do
        is_any_known = is_any_known or known[i] == 1
    end
    if not is_any_known then
        return due, due
    end
    local length = try('LLEN', queue)
    if type(length) == 'table' then
        return nil, nil, length.err
    end
    local fresh, taken, rare = {}, {}, rare()
    for i = 1, #due do
        local is_there = known[i] == 1
        if is_there then
            is_there = rare.is_in_list(queue, members, due[i])
        end
        if is_there == nil then
            postpone(due[i], 1)
        else
            taken[#taken + 1] = due[i]
            if not is_there then
                fresh[#fresh + 1] = due[i]
            end
        end
    end
    return fresh, taken
end

local function queue_up(number, due, delay_s)
    local queue, members, bell = unpack(KEYS, 15 + 3 * number, 17 + 3 * number)
    local known = try('SMISMEMBER', members, unpack(due))
    local fresh, taken, why
    if known.err then
        why = known.err
    else
        fresh, taken, why = not_in_list(queue, members, due, known)
    end
    if why then
        put_off(number, why, due, delay_s)
        return
    end
    if taken[1] then
        call('ZREM', from, unpack(taken))
    end
    if not fresh[1] then
        return
    end
    local added = try('SADD', members, unpack(fresh))
    local pushed = type(added) == 'number' and try('LPUSH', queue, unpack(fresh)) or added
    if type(pushed) == 'table' then
        -- The jobs could not enter, so they are due again later.
        try('SREM', members, unpack(fresh))
        put_off(number, pushed.err, taken, delay_s)
        return
    end
    -- In a list that was empty before, no job can be twice.
    local size = pushed > added and call('SCARD', members)
    if size and pushed > size then
        local rare = rare()
        for i = 1, #fresh do
            pushed = rare.drop_if_twice(queue, size, fresh[i], pushed)
        end
    end
    local count, planned, former = #status, {}, try('HMGET', due_key, unpack(fresh))
    local first_attempt = ' 1 ' .. second
    for i = 1, #fresh do
        local job = fresh[i]
        local score = score_of[job]
        status[count + 1], status[count + 2] = job, queued_now
        count = count + 2
        planned[2 * i - 1] = job
        if former[i] or score == '0' or string.find(score, '[ei]') then
            planned[2 * i] = planned_as(score, former[i])
        else
            planned[2 * i] = score .. first_attempt
        end
    end
    if not former.err then
        try('HSET', due_key, unpack(planned))
    end
    queued = queued + #fresh
    ring(bell)
end

local next_tag = 18 + 3 * queues
for number = 1, queues do
    local count, delay_s = tonumber(ARGV[2 + 2 * number]), tonumber(ARGV[3 + 2 * number])
    local due = still_due(number, next_tag, next_tag + count - 1)
    next_tag = next_tag + count
    if #due > 0 then
        queue_up(number, due, delay_s)
    end
end
for i = 4 + 2 * queues, #ARGV do
    local score = call('ZSCORE', from, ARGV[i])
    if score and tonumber(score) <= now then
        call('ZREM', from, ARGV[i])
        local count = #status
        status[count + 1], status[count + 2] = ARGV[i], bad_now
    end
end
if #postponed > 0 then
    -- If memory is full, the first write must be a command that needs none.
    call('ZREM', from, '')
    call('ZADD', from, unpack(postponed))
end
if #status > 0 then
    -- If the hash has a wrong type, the status is lost, but no job.
    try('HSET', statuses, unpack(status))
end

local ids = is_paused_whole and {} or call('ZRANGEBYSCORE', from, '-inf', clock, 'LIMIT', 0, ARGV[2])
local first_due = ''
if #ids == 0 and not is_paused_whole then
    local first = call('ZRANGE', from, 0, 0, 'WITHSCORES')
    ids, first_due = { first[1] }, first[2] or ''
end
local listed, lengths = table.concat(ids, '\n'), {}
local has_breaks = string.find(listed, '\n', 1, true)
if ids[2] then
    local _, breaks = string.gsub(listed, '\n', '')
    has_breaks = breaks >= #ids
end
if has_breaks or (ids[1] and listed == '') then
    for i = 1, #ids do
        lengths[i] = #ids[i]
    end
    listed = table.concat(ids)
end
if failures[1] then
    first_due = first_due .. '\n' .. table.concat(failures, '\n')
end
return clock .. string.format(' %d %d %d\n', halted, queued, #failures)
    .. table.concat(lengths, ' ') .. '\n' .. first_due .. '\n' .. listed
