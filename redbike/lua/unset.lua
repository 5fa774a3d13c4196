-- unset: forget a job: schedule, status, place on the timeline and in the queue. A run under way keeps its tag.
--
-- KEYS  1 schedules  2 statuses  3 timeline  4 queue  5 members  6 retries  7 memo
-- ARGV  1 job id
--       2 nonce, as for place; '' for none
--       3 'yes' to leave the nonce in the memo
--       4 how far to look in a long list: how many entries there are from where to begin to its right end; '' for all
-- Returns 1 where the job was known in any of these places, else 0. A negative number where nothing was changed yet,
--         because the list is long and there is more to look through: call again with that many, without the sign, in ARGV 4.

local schedules, statuses, timeline, queue, members, retries, memo = unpack(KEYS)
local job, nonce = ARGV[1], ARGV[2]
local PIECE = 1000 -- entries; all clients wait for as long as it takes to look through them

-- A key of a wrong type fails the call here, before its first write.
redis.call('HLEN', schedules)
redis.call('ZCARD', timeline)
redis.call('SCARD', members)
local length = redis.call('LLEN', queue)

-- How many entries there are from the job to the right end of a piece of the list that begins so far from it; or nil.
local function find(from)
    for i, entry in ipairs(redis.call('LRANGE', queue, -from, math.min(PIECE - from, 0) - 1)) do
        if entry == job then
            return from - i + 1
        end
    end
end

local to_end
local is_long = length > PIECE
if is_long and redis.call('SISMEMBER', members, job) == 1 then
    -- From left to right, as jobs move: so what has not been looked at cannot slip through.
    local from = math.min(tonumber(ARGV[4]) or length, length)
    to_end = find(from)
    if not to_end and from > PIECE then
        return PIECE - from
    end
end

-- Held up on its way, it must not undo a later set.
if nonce ~= '' then
    local latest = redis.pcall('GET', memo)
    if type(latest) == 'string' and string.sub(latest, 1, #nonce) >= nonce then
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
if to_end then
    -- Taking it out would move all others: the newest entry moves into its place instead.
    local newest = redis.call('LPOP', queue)
    if to_end < length then
        redis.call('LSET', queue, -to_end, newest)
    end
elseif not is_long then
    found = found + redis.call('LREM', queue, 0, job)
end
return (found + member > 0) and 1 or 0
