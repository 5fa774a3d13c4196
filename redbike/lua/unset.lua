-- unset: forget a job: schedule, status, place on the timeline and in the queue. A run under way keeps its tag.
--
-- KEYS  1 schedules  2 statuses  3 timeline  4 queue  5 members  6 retries  7 memo
-- ARGV  1 job id
--       2 nonce, as for place; '' for none
--       3 'yes' to leave the nonce in the memo
-- Returns 1 where the job was known in any of these places, else 0.

local schedules, statuses, timeline, queue, members, retries, memo = unpack(KEYS)
local job, nonce = ARGV[1], ARGV[2]

-- A key of a wrong type fails the call here, before its first write.
redis.call('HLEN', schedules)
redis.call('ZCARD', timeline)
redis.call('SCARD', members)
local length = redis.call('LLEN', queue)

-- Held up on its way, it must not undo a later set.
if nonce ~= '' then
    local latest = redis.pcall('GET', memo)
    if type(latest) == 'string' and string.sub(latest, 1, 16) == string.sub(nonce, 1, 16) and latest >= nonce then
        return 0
    end
    if ARGV[3] == 'yes' then
        redis.call('SET', memo, nonce, 'EX', 60)
    end
end

local found = redis.call('HDEL', schedules, job) + redis.call('ZREM', timeline, job)
if redis.pcall('HDEL', statuses, job) == 1 then
    found = found + 1
end
redis.pcall('HDEL', retries, job)
local member = redis.call('SREM', members, job)
-- Looking through a long list costs time that all clients wait for; what others wrote there by hand is not worth it.
if member == 1 or length <= 1000 then
    found = found + redis.call('LREM', queue, 0, job)
end
return (found + member > 0) and 1 or 0
