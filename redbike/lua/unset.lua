-- unset: forget a job: schedule, status, place on the timeline and in the queue. A run that is going on keeps its tag.
--
-- KEYS  1 to 8: see _keys  9 P:memo:CALLER  10 P-Q  11 P-Q-members
-- ARGV  1 job id
--       2 nonce, as for place; '' for none
--       3 how long the memo keeps the nonce, seconds; '' for not at all
--       4 'yes' where an earlier call with this nonce may have been carried out
--       5 how far to look in a long list: how many entries there are from where to begin to its right end; '' for all
-- Returns 1 where the job was known in any of these places, else 0; 'outdated' as place does. A negative number where
--         nothing was changed yet, because the list is long and there is more to look through: call again with that
--         many, without the sign, in ARGV 5.

local memo, queue, members = unpack(KEYS, 9, 11)
local job, nonce = ARGV[1], ARGV[2]
local PIECE = 1000 -- entries; all clients wait for as long as it takes to look through them

-- A key of a wrong type fails the call here, before its first write.
call('HLEN', schedules)
call('ZCARD', timeline)
call('SCARD', members)
local length = call('LLEN', queue)

-- How many entries there are from the job to the right end of a piece of the list that begins so far from it; or nil.
local function find(from)
    for i, entry in ipairs(call('LRANGE', queue, -from, math.min(PIECE - from, 0) - 1)) do
        if entry == job then
            return from - i + 1
        end
    end
end

local to_end
local is_long = length > PIECE
if is_long and call('SISMEMBER', members, job) == 1 then
    -- From left to right, as jobs move: so what has not been looked at cannot slip through.
    local from = math.min(tonumber(ARGV[5]) or length, length)
    to_end = find(from)
    if not to_end and from > PIECE then
        return PIECE - from
    end
end

-- Held up on its way, it must not undo a later set.
if nonce ~= '' then
    local noted = compare(call('MGET', memo)[1], nonce)
    if noted == 'same' and ARGV[4] == 'yes' then
        return 0
    elseif noted then
        return 'outdated'
    end
    if ARGV[3] ~= '' then
        call('SET', memo, nonce, 'EX', ARGV[3])
    end
end

local found = call('HDEL', schedules, job) + call('ZREM', timeline, job)
if try('HDEL', statuses, job) == 1 then
    found = found + 1
end
try('HDEL', retries, job)
try('ZREM', extra, job)
local member = call('SREM', members, job)
if to_end == 1 then
    call('RPOP', queue)
elseif to_end == length then
    call('LPOP', queue)
elseif to_end then
    -- Taking it out would take as long as the list is, and moving another into its place would break the order: the
    -- entry stays, and whoever takes it out of the list skips it.
    local counted = try('HINCRBY', holes, seldom().hole(queue, job), 1)
    if type(counted) == 'table' then
        call('LREM', queue, 1, job)
    end
elseif not is_long then
    found = found + call('LREM', queue, 0, job)
    -- With the entries gone, what would skip them would skip one that another program pushes.
    try('HDEL', holes, seldom().hole(queue, job))
end
return (found + member > 0) and 1 or 0
