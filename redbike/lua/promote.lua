-- promote: move jobs that were found due off the timeline and into their queues, then tell which are due next.
-- Each job is checked again, so any number of dispatchers may race.
--
-- KEYS  1 timeline  2 statuses  3 control
--       then for each queue: the list, its members, its bell
--       then for each job, queue by queue: its run tag, which is the key of the list, a dash and the job id
-- ARGV  1 up to when jobs are due, Unix seconds; '' for the server's time, which statuses carry in any case
--       2 how many due jobs to tell at the most
--       3 number of queues
--       then for each queue: how many of the jobs belong to it
--       then ids of jobs for which no queue can be told: these are bad
-- Returns one text, for a reply of many parts is slow to read. Its lines:
--          1 the time of the call, Unix seconds; 1 where the prefix is halted, else 0; number of jobs queued; of troubles
--          2 where the ids below cannot be told apart by line breaks: their lengths, bytes; else ''
--          3 '' where jobs are due, or the timeline is empty; else the due time of the first to come, Unix seconds
--          then for each queue that cannot take jobs: its number and the error; its jobs are due again in a second
--       Then the ids of the jobs due next, or where none is due, of the first to come: a line each, or one behind the other.

local timeline, statuses, control = KEYS[1], KEYS[2], KEYS[3]
local queues = tonumber(ARGV[3])
local call, try = redis.call, redis.pcall

local time = call('TIME')
local second, clock = time[1], time[1] .. '.' .. string.sub(1000000 + time[2], 2, 7)
local now = tonumber(ARGV[1])
if now then
    clock = ARGV[1]
else
    now = tonumber(clock)
end
local later = string.format('%d', math.floor(now) + 1)
local queued_now, bad_now = 'ENQ:' .. second, 'BAD:' .. second
local queued, troubles = 0, {}
local status, postponed = {}, {}

local function postpone(job)
    postponed[#postponed + 1] = later
    postponed[#postponed + 1] = job
end

-- A queue that cannot take jobs.
local function put_off(number, fault, due)
    troubles[#troubles + 1] = number .. ' ' .. fault
    for _, job in ipairs(due) do
        postpone(job)
    end
end

-- The jobs of one queue that are still due and not running.
local function still_due(queue, first, last)
    local ids, tags = {}, { unpack(KEYS, first, last) }
    local skip = #queue + 2
    for i = 1, #tags do
        ids[i] = string.sub(tags[i], skip)
    end
    local scores = call('ZMSCORE', timeline, unpack(ids))
    local some_run = call('EXISTS', unpack(tags)) > 0
    local due = {}
    for i = 1, #ids do
        local score = scores[i] and tonumber(scores[i])
        if score and score <= now then
            if some_run and call('EXISTS', tags[i]) == 1 then
                postpone(ids[i])
                -- A tag that never expires would hold the job for ever.
                if call('PTTL', tags[i]) == -1 then
                    call('PEXPIRE', tags[i], 10000)
                end
            else
                due[#due + 1] = ids[i]
            end
        end
    end
    return due
end

local function queue_up(number, due)
    local queue, members, bell = unpack(KEYS, 1 + 3 * number, 3 + 3 * number)
    local known = try('SMISMEMBER', members, unpack(due))
    local length = try('LLEN', queue)
    local fault = known.err or (type(length) == 'table' and length.err)
    if fault then
        put_off(number, fault, due)
        return
    end
    local fresh, count = {}, 0
    for i = 1, #due do
        local job = due[i]
        -- Others may have left a job in the set that is not in the list; a short list is looked through.
        if known[i] == 0 or (length <= 100 and not call('LPOS', queue, job)) then
            count = count + 1
            fresh[count] = job
        end
    end
    call('ZREM', timeline, unpack(due))
    if count == 0 then
        return
    end
    local added = try('SADD', members, unpack(fresh))
    local pushed = type(added) == 'number' and try('LPUSH', queue, unpack(fresh)) or added
    if type(pushed) == 'table' then
        -- Whatever keeps jobs out of their queue, they are due again.
        try('SREM', members, unpack(fresh))
        put_off(number, pushed.err, due)
        return
    end
    local noted = #status
    for i = 1, count do
        status[noted + 1], status[noted + 2] = fresh[i], queued_now
        noted = noted + 2
    end
    queued = queued + count
    if call('EXISTS', bell) == 0 then
        try('LPUSH', bell, '1')
    end
end

local next_tag = 4 + 3 * queues
for number = 1, queues do
    local count = tonumber(ARGV[3 + number])
    local due = still_due(KEYS[1 + 3 * number], next_tag, next_tag + count - 1)
    next_tag = next_tag + count
    if #due > 0 then
        queue_up(number, due)
    end
end
for i = 4 + queues, #ARGV do
    local score = call('ZSCORE', timeline, ARGV[i])
    if score and tonumber(score) <= now then
        call('ZREM', timeline, ARGV[i])
        status[#status + 1] = ARGV[i]
        status[#status + 1] = bad_now
    end
end
if #postponed > 0 then
    call('ZADD', timeline, unpack(postponed))
end
if #status > 0 then
    -- A hash of a wrong type loses the status, and no job.
    try('HSET', statuses, unpack(status))
end

local ids = call('ZRANGEBYSCORE', timeline, '-inf', clock, 'LIMIT', 0, ARGV[2])
local first_due = ''
if #ids == 0 then
    local first = call('ZRANGE', timeline, 0, 0, 'WITHSCORES')
    ids, first_due = { first[1] }, first[2] or ''
end
local told, lengths = table.concat(ids, '\n'), {}
local _, breaks = string.gsub(told, '\n', '')
if breaks >= #ids or (ids[1] and told == '') then
    for i = 1, #ids do
        lengths[i] = #ids[i]
    end
    told = table.concat(ids)
end
local halted = try('GET', control) == 'HALT' and 1 or 0
local head = clock .. ' ' .. halted .. ' ' .. queued .. ' ' .. #troubles
return table.concat({ head, table.concat(lengths, ' '), first_due, unpack(troubles) }, '\n') .. '\n' .. told
