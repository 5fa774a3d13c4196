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
--          2 lengths of the ids of the jobs due next, bytes; where none is due, of the first to come
--          3 '' where jobs are due, or the timeline is empty; else the due time of the first to come, Unix seconds
--          then for each queue that cannot take jobs: its number and the error; its jobs are due again in a second
--       Then these ids, one behind the other.

local timeline, statuses, control = KEYS[1], KEYS[2], KEYS[3]
local queues = tonumber(ARGV[3])

local time = redis.call('TIME')
local second, clock = time[1], time[1] .. '.' .. string.sub(1000000 + time[2], 2, 7)
local now = tonumber(ARGV[1])
if now then
    clock = ARGV[1]
else
    now = tonumber(clock)
end
local later = string.format('%d', math.floor(now) + 1)
local queued, troubles = 0, {}
local done, status, postponed = {}, {}, {}

local function postpone(job)
    postponed[#postponed + 1] = later
    postponed[#postponed + 1] = job
end

local function finish(job, event)
    done[#done + 1] = job
    if event then
        status[#status + 1] = job
        status[#status + 1] = event .. ':' .. second
    end
end

-- The jobs of one queue that are still due and not running.
local function still_due(queue, first, last)
    local ids, tags = {}, { unpack(KEYS, first, last) }
    local skip = #queue + 2
    for i = 1, #tags do
        ids[i] = string.sub(tags[i], skip)
    end
    local scores = redis.call('ZMSCORE', timeline, unpack(ids))
    local some_run = redis.call('EXISTS', unpack(tags)) > 0
    local due = {}
    for i = 1, #ids do
        local score = scores[i] and tonumber(scores[i])
        if score and score <= now then
            if some_run and redis.call('EXISTS', tags[i]) == 1 then
                postpone(ids[i])
                -- A tag that never expires would hold the job for ever.
                if redis.call('PTTL', tags[i]) == -1 then
                    redis.call('PEXPIRE', tags[i], 10000)
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
    local known = redis.pcall('SMISMEMBER', members, unpack(due))
    local length = redis.pcall('LLEN', queue)
    local fault = known.err or (type(length) == 'table' and length.err)
    if fault then
        troubles[#troubles + 1] = number .. ' ' .. fault
        for _, job in ipairs(due) do
            postpone(job)
        end
        return
    end
    local fresh = {}
    for i, job in ipairs(due) do
        -- Others may have left a job in the set that is not in the list; a short list is looked through.
        if known[i] == 0 or (length <= 100 and not redis.call('LPOS', queue, job)) then
            fresh[#fresh + 1] = job
            finish(job, 'ENQ')
        else
            finish(job)
        end
    end
    if #fresh > 0 then
        redis.call('LPUSH', queue, unpack(fresh))
        redis.call('SADD', members, unpack(fresh))
        queued = queued + #fresh
        if redis.call('EXISTS', bell) == 0 then
            redis.pcall('LPUSH', bell, '1')
        end
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
    local score = redis.call('ZSCORE', timeline, ARGV[i])
    if score and tonumber(score) <= now then
        finish(ARGV[i], 'BAD')
    end
end
if #postponed > 0 then
    redis.call('ZADD', timeline, unpack(postponed))
end
if #done > 0 then
    redis.call('ZREM', timeline, unpack(done))
end
if #status > 0 then
    -- A hash of a wrong type loses the status, and no job.
    redis.pcall('HSET', statuses, unpack(status))
end

local ids = redis.call('ZRANGEBYSCORE', timeline, '-inf', clock, 'LIMIT', 0, ARGV[2])
local first_due = ''
if #ids == 0 then
    local first = redis.call('ZRANGE', timeline, 0, 0, 'WITHSCORES')
    ids, first_due = { first[1] }, first[2] or ''
end
local lengths = {}
for i = 1, #ids do
    lengths[i] = #ids[i]
end
local halted = redis.pcall('GET', control) == 'HALT' and 1 or 0
local head = clock .. ' ' .. halted .. ' ' .. queued .. ' ' .. #troubles
return table.concat({ head, table.concat(lengths, ' '), first_due, unpack(troubles) }, '\n') .. '\n' .. table.concat(ids)
