-- turn: end one run and begin the next, in one step; either half may be left out.
--
-- KEYS  1 schedules  2 statuses  3 timeline  4 control  5 memo  6 running  7 retries
--       then for each queue that is served: the list, its members, its bell
--       then, to end a run: its tag, the list that the job goes back into, that one's members, its bell
--       (The run tag of the job that is taken is the one key not named here: only the script learns which job that is.)
-- ARGV  1 'yes' to keep the index of running jobs
--       2 'yes' to take nothing from a halted prefix
--       3 wake channel
--       4 numbers of the queues to look at, in order, parted by blanks; '' takes nothing
--       5 number of queues
--       then for each queue: how long a run from it may take, milliseconds
--       then 1 now, Unix seconds; '' for the server's time
--         2 nonce of this call: becomes the run tag of the job that is taken. Those of one caller begin with the same 16
--           characters and grow: a call that arrives behind a later one, or behind its own repetition, changes nothing
--         3 'yes' where the reply to this very call may have been lost before
--       then, to end a run:
--         4 job id  5 run tag  6 key of the list that it was taken from
--         7 the schedule text that the plan was made from
--         8 the plan: 'queue', 'at', 'stop', 'bad', 'over' (its schedule was for one run), 'die', 'quit' (the job stopped
--           itself) or 'unset'
--         9 for 'at': the due time, Unix seconds
--         10 how often the job is tried again before the plan is carried out; '' where that is not counted,
--            0 where the run went well and earlier tries are to be forgotten
--         11 what the delay before such a try, seconds, is multiplied with
--         12 'yes' where the run has outlived its timeout, and the index, not the tag, tells whether it is still to be ended
-- Returns one text, for a reply of many parts is slow to read. Its first line, parted by blanks:
--          1 the time of the call, Unix seconds
--          2 how the ending went: '-' none asked for; 'ended'; 'late': the run is another's or over, nothing was changed;
--            'changed': the schedule is another now, nothing was changed and nothing taken, plan again and call again
--          3 1 where the prefix is halted (and ARGV 2 asks for it), else 0
--          4 which of the places in ARGV 4 gave the job, 1 upwards; 0: nothing was taken
--          5 length of the id of the job taken, bytes
--          6 length of its schedule text, or of the changed one, bytes; -1: there is none
--       Then the id, the text, and a line for each queue that could not be looked at: its number and the error.

local schedules, statuses, timeline, control, memo, running, retries = unpack(KEYS, 1, 7)
local places, queues = ARGV[4], tonumber(ARGV[5])
local end_keys, rest = 7 + 3 * queues, 5 + queues
local indexed, nonce = ARGV[1] == 'yes', ARGV[rest + 2]
local LONGEST_DELAY = 300 -- seconds between two tries

local now, second, clock = tonumber(ARGV[rest + 1]), nil, ARGV[rest + 1]
if now then
    second = string.format('%d', math.floor(now))
else
    local time = redis.call('TIME')
    now, second = time[1] + time[2] / 1000000, time[1]
    clock = second .. '.' .. string.sub(1000000 + time[2], 2, 7)
end

local status = {} -- job, status, job, status …: written at the end, in one go
local function set_status(job, event)
    status[#status + 1] = job
    status[#status + 1] = event .. ':' .. second
end

local length = {} -- list key -> how many jobs are in it, where we know
local to_ring = {} -- list key -> bell key

local function enqueue(job, queue, members, bell)
    local added = redis.pcall('SADD', members, job)
    if added == 0 then
        -- Others may have left a job in the set that is not in the list; a short list is looked through.
        local known_length = redis.pcall('LLEN', queue)
        if type(known_length) == 'number' and known_length <= 100 and not redis.call('LPOS', queue, job) then
            added = 1
        end
    end
    local pushed = added == 1 and redis.pcall('LPUSH', queue, job)
    if type(added) == 'table' or type(pushed) == 'table' then
        -- A key of a wrong type takes nothing: the dispatcher tries again, and reports it.
        redis.pcall('SREM', members, job)
        redis.call('ZADD', timeline, second, job)
        set_status(job, 'TML')
        return
    end
    length[queue] = pushed or nil
    to_ring[queue] = bell
    set_status(job, 'ENQ')
end

-- Stops a job, unless it was set to run once more while it ran: then that run is still to come.
local function stop(job, text, queue, members, bell)
    local due = text == 'STOP' and redis.call('ZSCORE', timeline, job)
    if not due then
        redis.call('ZREM', timeline, job)
        set_status(job, 'STP')
    elseif tonumber(due) <= now then
        redis.call('ZREM', timeline, job)
        enqueue(job, queue, members, bell)
    else
        set_status(job, 'TML')
    end
end

-- An entry of the index of running jobs: run tag, list key and job id, a line each.
local function entry(tag_value, queue, job)
    return tag_value .. '\n' .. queue .. '\n' .. job
end

-- The due time of the next try, or nil where the tries are used up or whoever set the job meanwhile decides.
local function due_again(job, tries, factor)
    local latest = redis.pcall('HGET', statuses, job)
    local count = redis.pcall('HINCRBY', retries, job, 1)
    if type(count) == 'table' or count > tries or type(latest) ~= 'string' or string.sub(latest, 1, 4) ~= 'WRK:' then
        redis.pcall('HDEL', retries, job)
        return nil
    end
    return string.format('%.3f', now + math.min(LONGEST_DELAY, 2 ^ (count - 1) * factor))
end

-- Whether a run that outlived its timeout is still to be ended: nobody did, and the job is in no other place by now.
local function is_abandoned(job, holder, mine, taken_from, members)
    local known = redis.call('ZREM', running, entry(mine, taken_from, job)) == 1
    return known
        and (not holder or holder == mine)
        and not redis.call('ZSCORE', timeline, job)
        and redis.pcall('SISMEMBER', members, job) ~= 1
end

local function end_run()
    local tag, queue, members, bell = unpack(KEYS, end_keys + 1, end_keys + 4)
    local job, mine, taken_from, known_text, plan, due, tries, factor, overdue = unpack(ARGV, rest + 4, rest + 12)
    overdue, tries = overdue == 'yes', tonumber(tries)
    local holder = redis.pcall('GET', tag)
    if holder ~= mine and not overdue then
        return 'late', false
    end
    local text = redis.call('HGET', schedules, job)
    if text and text ~= known_text and plan ~= 'die' and plan ~= 'quit' and plan ~= 'unset' then
        return 'changed', text
    end
    if overdue then
        if not is_abandoned(job, holder, mine, taken_from, members) then
            return 'late', false
        end
    elseif indexed then
        redis.pcall('ZREM', running, entry(mine, taken_from, job))
    end
    -- A timeline of a wrong type fails the call here, while the run can still be ended later.
    if plan == 'queue' then
        redis.call('ZREM', timeline, job)
    else
        redis.call('ZCARD', timeline)
    end
    redis.call('DEL', tag)
    if tries == 0 then
        redis.pcall('HDEL', retries, job)
    elseif tries and text then
        local again = due_again(job, tries, tonumber(factor))
        if again then
            plan, due = 'at', again
        end
    end
    if not text or plan == 'unset' then
        redis.call('HDEL', schedules, job)
        redis.pcall('HDEL', statuses, job)
        redis.pcall('HDEL', retries, job)
        redis.call('ZREM', timeline, job)
        if redis.pcall('SREM', members, job) == 1 then
            redis.pcall('LREM', queue, 0, job)
        end
    elseif plan == 'queue' then
        enqueue(job, queue, members, bell)
    elseif plan == 'at' then
        -- A sleeping dispatcher looks by itself once a second.
        local earliest = tonumber(due) < now + 1 and redis.call('ZRANGE', timeline, 0, 0, 'WITHSCORES')
        -- An earlier entry is a run that was asked for during this one: it comes first.
        redis.call('ZADD', timeline, 'LT', due, job)
        if earliest and (not earliest[2] or tonumber(due) < tonumber(earliest[2])) then
            redis.pcall('PUBLISH', ARGV[3], job)
        end
        set_status(job, 'TML')
    elseif plan == 'stop' then
        stop(job, text, queue, members, bell)
    elseif plan == 'bad' then
        redis.call('ZREM', timeline, job)
        set_status(job, 'BAD')
    elseif plan == 'die' then
        set_status(job, 'DIE')
    elseif plan == 'quit' or plan == 'over' then
        redis.call('HSET', schedules, job, 'STOP')
        stop(job, text, queue, members, bell)
    end
    return 'ended', false
end

-- Gives the job its tag, unless somebody runs it.
local function hand_out(job, number, anew)
    local queue, timeout_ms = KEYS[5 + 3 * number], ARGV[5 + number]
    local tag, given = queue .. '-' .. job, nil
    if anew then
        given = redis.call('SET', tag, nonce, 'PX', timeout_ms)
    else
        given = redis.call('SET', tag, nonce, 'PX', timeout_ms, 'NX')
    end
    if given and indexed then
        redis.pcall('ZADD', running, string.format('%.3f', now + timeout_ms / 1000), entry(nonce, queue, job))
    end
    if given then
        set_status(job, 'WRK')
    end
    return given
end

-- Takes the first job that the places give: the number of the place, and the job with its schedule text.
local function take(troubles)
    local place = 0
    for word in string.gmatch(places, '%d+') do
        place = place + 1
        local number = tonumber(word)
        local queue, members, bell = unpack(KEYS, 5 + 3 * number, 7 + 3 * number)
        local job = redis.pcall('RPOP', queue)
        if type(job) == 'table' then
            if string.sub(job.err, 1, 9) ~= 'WRONGTYPE' then
                redis.call('RPOP', queue) -- A server that takes no writes: no queue is to blame, and the call fails.
            end
            troubles[#troubles + 1] = word .. ' ' .. job.err
        elseif job then
            redis.pcall('SREM', members, job)
            length[queue] = length[queue] and length[queue] - 1
            to_ring[queue] = bell
            if hand_out(job, number) then
                return place, job
            end
            -- Queued by somebody while it runs: its turn comes when that run is over.
            redis.call('ZADD', timeline, second, job)
            set_status(job, 'TML')
        end
    end
    return 0, false
end

-- The job that this very call handed out before its reply was lost, unless somebody else has it by now.
local function hand_out_again(place, job)
    local position = 0
    for word in string.gmatch(places, '%d+') do
        position = position + 1
        if position == place then
            local number = tonumber(word)
            local queue, members = unpack(KEYS, 5 + 3 * number, 6 + 3 * number)
            local holder = redis.pcall('GET', queue .. '-' .. job)
            local elsewhere = holder
                or redis.pcall('SISMEMBER', members, job) == 1
                or redis.call('ZSCORE', timeline, job)
                or (indexed and not redis.pcall('ZSCORE', running, entry(nonce, queue, job)))
            return (holder == nonce or not elsewhere) and hand_out(job, number, true)
        end
    end
end

local ended, changed_text, place, job, troubles = '-', false, 0, false, {}
local repeated, memory = ARGV[rest + 3] == 'yes', redis.pcall('GET', memo)
local latest = type(memory) == 'string' and string.sub(memory, 1, #nonce) or ''
if string.sub(latest, 1, 16) == string.sub(nonce, 1, 16) and (latest > nonce or (latest == nonce and not repeated)) then
    -- It was held up on a connection that its sender has given up: nobody reads this, and nothing may be handed out.
    return clock .. ' - 0 0 0 -1\n'
end
local whose, was_ended, was_place, was_job
if latest == nonce then
    whose, was_ended, was_place, was_job = string.match(memory, '^(%S+) (%S+) (%d+) (.*)$')
end
if whose == nonce then
    ended = was_ended
    if was_job ~= '' and hand_out_again(tonumber(was_place), was_job) then
        place, job = tonumber(was_place), was_job
    end
elseif #KEYS > end_keys then
    ended, changed_text = end_run()
end

local halted = ARGV[2] == 'yes' and redis.pcall('GET', control) == 'HALT'
if not job and places ~= '' and ended ~= 'changed' and not halted then
    if ended == '-' then
        -- A hash of a wrong type fails the call here, before a job is taken.
        redis.call('HLEN', schedules)
    end
    place, job = take(troubles)
end
if halted then
    -- One idle worker after the other wakes up, and goes.
    for number = 1, queues do
        to_ring[KEYS[5 + 3 * number]] = KEYS[7 + 3 * number]
        length[KEYS[5 + 3 * number]] = 1
    end
end
if ended ~= 'changed' and (job or ended ~= '-' or repeated) then
    redis.call('SET', memo, nonce .. ' ' .. ended .. ' ' .. place .. ' ' .. (job or ''), 'EX', 86400)
end

-- Whoever leaves jobs behind wakes the next idle worker.
for queue, bell in pairs(to_ring) do
    if length[queue] ~= 0 and redis.call('EXISTS', bell) == 0 then
        if length[queue] or redis.pcall('EXISTS', queue) == 1 then
            redis.pcall('LPUSH', bell, '1')
        end
    end
end
if status[1] then
    -- A hash of a wrong type loses the status, and no job.
    redis.pcall('HSET', statuses, unpack(status))
end
local text = changed_text or (job and redis.call('HGET', schedules, job))
local head = clock .. ' ' .. ended .. ' ' .. (halted and '1 ' or '0 ') .. place
return head .. ' ' .. #(job or '') .. ' ' .. (text and #text or -1) .. '\n'
    .. (job or '') .. (text or '') .. table.concat(troubles, '\n')
