-- place: register the schedule of a job and carry out what it says comes next.
--
-- KEYS  1 schedules  2 statuses  3 timeline  4 retries  5 memo  6 queue  7 members  8 bell  9 run tag
-- ARGV  1 job id
--       2 schedule text to register, taken only where ARGV 3 is 'yes'
--       3 'yes', or 'no': leave schedule and timeline as they are (a run by hand)
--       4 what comes next: 'queue', 'at', 'stop' or 'bad'
--       5 due time for 'at', Unix seconds
--       6 now, Unix seconds; '' for the server's time
--       7 wake channel
--       8 nonce; '' for none. Those of one caller begin with the same 16 characters and grow: a call changes nothing where
--         the memo has its nonce, for it was carried out, or a later one of the same caller, for it was held up
--       9 'yes': only a job that is in no place, with the schedule in ARGV 2 registered already
--      10 'yes' to leave the nonce in the memo
-- Returns the time of the call, Unix seconds, as text; false where ARGV 9 forbids it.

local schedules, statuses, timeline, retries, memo, queue, members, bell, tag = unpack(KEYS)
local job, text, register, plan = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local channel, nonce = ARGV[7], ARGV[8]

-- A key of a wrong type fails the call here, before its first write.
redis.call('HLEN', schedules)
redis.call('ZCARD', timeline)

local now, second, clock = tonumber(ARGV[6]), nil, ARGV[6]
if now then
    second = string.format('%d', math.floor(now))
else
    local time = redis.call('TIME')
    now, second = time[1] + time[2] / 1000000, time[1]
    clock = second .. '.' .. string.sub(1000000 + time[2], 2, 7)
end

-- A one-off that ran between the lost reply and its repetition must not run again, and no set undo a later one.
if nonce ~= '' then
    local latest = redis.pcall('GET', memo)
    if type(latest) == 'string' and string.sub(latest, 1, 16) == string.sub(nonce, 1, 16) and latest >= nonce then
        return clock
    end
    if ARGV[10] == 'yes' then
        redis.call('SET', memo, nonce, 'EX', 60)
    end
end

-- Others may have left a job in the set that is not in the list; a short list is looked through.
local function is_queued()
    return redis.call('SISMEMBER', members, job) == 1
        and (redis.call('LLEN', queue) > 100 or redis.call('LPOS', queue, job) ~= false)
end

if ARGV[9] == 'yes' then
    local placed = redis.call('ZSCORE', timeline, job) or redis.call('EXISTS', tag) == 1 or is_queued()
    if placed or redis.call('HGET', schedules, job) ~= text then
        return false
    end
end

local event
if plan == 'queue' then
    if redis.call('EXISTS', tag) == 1 then
        -- Running: due at once, and the end of the run, or of its time, lets it go.
        redis.call('ZADD', timeline, second, job)
        event = 'TML'
    else
        if not is_queued() then
            redis.call('LPUSH', queue, job)
            redis.call('SADD', members, job)
        end
        if redis.call('EXISTS', bell) == 0 then
            redis.pcall('LPUSH', bell, '1')
        end
        if register == 'yes' then
            redis.call('ZREM', timeline, job)
        end
        event = 'ENQ'
    end
elseif plan == 'at' then
    local due = tonumber(ARGV[5])
    -- A sleeping dispatcher looks by itself once a second.
    local earliest = due < now + 1 and redis.call('ZRANGE', timeline, 0, 0, 'WITHSCORES')
    redis.call('ZADD', timeline, ARGV[5], job)
    if earliest and (not earliest[2] or due < tonumber(earliest[2])) then
        redis.pcall('PUBLISH', channel, job)
    end
    event = 'TML'
else
    redis.call('ZREM', timeline, job)
    event = plan == 'stop' and 'STP' or 'BAD'
end

if register == 'yes' then
    redis.call('HSET', schedules, job, text)
    redis.pcall('HDEL', retries, job)
end
-- A hash of a wrong type loses the status, and no job.
redis.pcall('HSET', statuses, job, event .. ':' .. second)
return clock
