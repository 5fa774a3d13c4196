-- unset: forget a job: its schedule, status, and places on the timeline and in the queue. A present run keeps its tag.
--
-- KEYS  1 to 16: see _keys  17 P:memo:CLIENT  18 P-Q  19 P-Q-members  20 P:loaded, only with ARGV 6
-- ARGV  1 job id
--       2 request id, as for place; '' for none
--       3 how long the memo keeps the id, seconds; '' if it does not keep the id
--       4 'yes' if an earlier call with this id may have been carried out
--       5 where to begin in a long list: the number of entries from there to its right end; '' for the left end
--       6 unset the job only if it has this note in P:loaded, and remove the note; missing: in any case
-- Returns 1 if the job was known in any of these places, else 0; 'outdated' as place does. A negative number means that
--         nothing was changed yet, because the list is long and a part of it is still to be searched. Then call again
--         with that number, without the sign, in ARGV 5.

local memo, queue, members, loaded = unpack(KEYS, 17, 20)
local job = ARGV[1]
local PIECE = 1000 -- entries to search in one call: all clients wait while the server searches

-- A key of a wrong type makes the call fail here, before its first write.
call('HLEN', schedules)
call('ZCARD', timeline)
call('SCARD', members)
if loaded and call('HGET', loaded, job) ~= ARGV[6] then
    return 0
end
local length = call('LLEN', queue)

-- Look for the job in a piece of the list that begins `from` entries from its right end. Returns its distance, or nil.
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
    -- Search from left to right, the direction in which jobs move. Then no entry can pass the search unseen.
    local from = math.min(tonumber(ARGV[5]) or length, length)
    to_end = find(from)
    if not to_end and from > PIECE then
        return PIECE - from
    end
end

-- A call that was delayed must not undo a later set.
local noted = note_call(memo, ARGV[2], ARGV[3], ARGV[4])
if noted then
    return noted == 'same' and 0 or noted
end

if loaded then
    call('HDEL', loaded, job)
end
local found = call('HDEL', schedules, job) + call('ZREM', timeline, job)
if try('HDEL', statuses, job) == 1 then
    found = found + 1
end
try('HDEL', retries, job)
try('ZREM', extra, job)
try('HDEL', payloads, job, '\n' .. job, '\n\n' .. job)
try('HDEL', due_key, job)
try('HDEL', runs, job)
try('HDEL', pauses, job)
try('ZREM', resume, job)
local member = call('SREM', members, job)
if to_end == 1 then
    call('RPOP', queue)
elseif to_end == length then
    call('LPOP', queue)
elseif to_end then
    -- To remove the entry would take time in proportion to the list. To move another entry into its place would break
    -- the order. So the entry stays, and the worker that takes it skips it.
    local counted = try('HINCRBY', holes, rare().hole(queue, job), 1)
    if type(counted) == 'table' then
        call('LREM', queue, 1, job)
    end
elseif not is_long then
    found = found + call('LREM', queue, 0, job)
    -- The entries are gone. Without this command, a worker would skip an entry that another program pushes later.
    try('HDEL', holes, rare().hole(queue, job))
end
return (found + member > 0) and 1 or 0
