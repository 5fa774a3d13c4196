-- turn: end one run and begin the next, in one step; either half may be left out.
--
-- KEYS  1 to 8: see _keys  9 P:memo:CALLER
--       then for each queue that is served: the list, its members, its bell
--       then, to end a run: its tag, the list that the job goes back into, that one's members, its bell
--       (The run tag of the job that is taken is the one key not named here: only the script learns which job that is.)
-- ARGV  1 'yes' to keep the index of running jobs
--       2 'yes' to take nothing from a halted prefix
--       3 wake channel
--       4 the queues to look at, in order: for each a character, whose code is its number and 48; '' takes nothing
--       5 what few callers need, parted by a blank: 'ask' to look at a job's run tag before the job is taken, because on
--         a Cluster the server may refuse that; 'spell' where the run tag of a job could be the key of a list or set of
--         these queues
--       6 number of queues
--       then for each queue: how long a run from it may take, milliseconds
--       then 1 now, Unix seconds; '' for the server's time
--         2 nonce of this call: becomes the run tag of the job that is taken. Those of one caller grow, and the memo is the
--           caller's: a call that arrives behind a later one, or behind its own repetition, changes nothing
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
--         12 where the run ended within its timeout: when it began, whole Unix seconds; 'overdue' where it has outlived
--            its timeout, and the index, not the tag, tells whether it is still to be ended; else ''
-- Returns one text, because a reply of many parts is slow to read. Its first line, parted by blanks:
--          1 the time of the call, whole Unix seconds  2 and microseconds (0 where ARGV gives the time)
--          3 how the ending went: '-' none asked for; 'ended'; 'late': the run is another's or over, nothing was changed;
--            'changed': the schedule is another now, nothing was changed and nothing taken, plan again and call again;
--            'outdated': nothing was changed, because this caller has made a later call, or this very one, which is not
--            a repetition
--          4 1 where the prefix is halted (and ARGV 2 asks for it), else 0
--          5 which of the places in ARGV 4 gave the job, 1 upwards; 0: nothing was taken
--          6 length of the id of the job taken, bytes
--          7 length of its schedule text, or of the changed one, bytes; -1: there is none
--       Then the id, the text, and a line for each queue that made trouble: its number and the error.
--
-- Every job costs one call of this script, so the way that most of them take is kept short: what is seldom needed is made
-- where it is needed, and numbers stay the words that they came as: making a word of one by '..' costs as much as a command.

local memo = KEYS[9]
local places, cautions, queues = ARGV[4], ARGV[5], ARGV[6]
local end_keys, rest = 9 + 3 * queues, 6 + queues
local given_now, nonce, is_repeated = ARGV[rest + 1], ARGV[rest + 2], ARGV[rest + 3] == 'yes'
local is_indexed = ARGV[1] == 'yes'

-- The time of the call: whole Unix seconds and microseconds, both as text; and all as a number.
local second, microsecond, now
if given_now == '' then
    local time = call('TIME')
    second, microsecond = time[1], time[2]
    now = second + microsecond / 1000000
else
    second, microsecond = string.format('%d', math.floor(given_now)), '0'
    now = tonumber(given_now)
end

-- Returns how the ending went; the changed text; the event that the status of the job tells, if any; and where it has
-- entered its queue, the length of that.
local function end_run(holder)
    local tag, queue, members = unpack(KEYS, end_keys + 1, end_keys + 3)
    local job, mine, taken_from, known_text, plan, due, tries, factor, began = unpack(ARGV, rest + 4, rest + 12)
    local overdue = began == 'overdue'
    if holder ~= mine and not overdue then
        -- A run whose tag has expired still counts where it ended in time, Redis was away meanwhile, and nothing has
        -- happened to the job since it was handed out.
        local counts = not holder
            and began ~= ''
            and call('EXISTS', tag) == 0
            and try('HGET', statuses, job) == 'WRK:' .. began
            and not call('ZSCORE', timeline, job)
            and not seldom().has_extra(job)
            and try('SISMEMBER', members, job) ~= 1
        if not counts then
            return 'late', false
        end
    end
    local text = call('HGET', schedules, job)
    if text and text ~= known_text and plan ~= 'die' and plan ~= 'quit' and plan ~= 'unset' then
        return 'changed', text
    end
    -- An entry of the index of running jobs: run tag, list key and job id, a line each.
    local entry = (overdue or is_indexed) and mine .. '\n' .. taken_from .. '\n' .. job
    if overdue then
        -- Nobody has ended it, and the job is in no other place by now.
        local is_abandoned = call('ZREM', running, entry) == 1
            and (holder == mine or call('EXISTS', tag) == 0)
            and not call('ZSCORE', timeline, job)
            and try('SISMEMBER', members, job) ~= 1
        if not is_abandoned then
            return 'late', false
        end
    elseif is_indexed then
        try('ZREM', running, entry)
    end
    -- A timeline of a wrong type fails the call here, while the run can still be ended later.
    if plan == 'queue' then
        call('ZREM', timeline, job)
    else
        call('ZCARD', timeline)
    end
    -- The job gets its place first, and loses its tag then: should the server refuse one of the two, it is not lost.
    if tries == '0' then
        try('HDEL', retries, job)
    elseif tries ~= '' and text then
        -- Tried again, unless the tries are used up, or the job was set meanwhile: then the new schedule decides.
        local latest, count = try('HGET', statuses, job), try('HINCRBY', retries, job, 1)
        local is_the_latest = type(latest) == 'string' and string.sub(latest, 1, 4) == 'WRK:'
        if is_the_latest and type(count) == 'number' and count <= tonumber(tries) then
            plan = 'at'
            local LONGEST_DELAY = 300 -- seconds between two tries
            due = string.format('%.3f', now + math.min(LONGEST_DELAY, 2 ^ (count - 1) * factor))
            local planned = call('ZSCORE', timeline, job)
            if planned and tonumber(planned) > now and type(try('ZADD', extra, 'LT', due, job)) == 'number' then
                due = planned -- a later run that is planned already stays
            end
        else
            try('HDEL', retries, job)
        end
    end
    local event
    if not text or plan == 'unset' then
        call('HDEL', schedules, job)
        try('HDEL', statuses, job)
        try('HDEL', retries, job)
        try('ZREM', extra, job)
        call('ZREM', timeline, job)
        if try('SREM', members, job) == 1 then
            try('LREM', queue, 0, job)
            try('HDEL', holes, seldom().hole(queue, job))
        end
    elseif plan == 'at' then
        -- A sleeping dispatcher looks by itself once a second.
        local earliest = tonumber(due) < second + 2 and call('ZRANGE', timeline, 0, 0, 'WITHSCORES')
        -- Of two entries, the earlier: a run that was asked for during this one comes first.
        call('ZADD', timeline, 'LT', due, job)
        if earliest and (not earliest[2] or tonumber(due) < tonumber(earliest[2])) then
            try('PUBLISH', ARGV[3], '')
        end
        event = 'TML:'
    elseif plan == 'bad' then
        call('ZREM', timeline, job)
        try('ZREM', extra, job)
        event = 'BAD:'
    elseif plan == 'die' then
        event = 'DIE:'
    elseif plan ~= 'queue' then -- 'stop', 'quit' or 'over'
        if plan ~= 'stop' then
            call('HSET', schedules, job, 'STOP')
        end
        if plan == 'quit' then
            try('ZREM', extra, job)
        end
        -- Set to run once more while it ran: then that run is still to come.
        local due_once = text == 'STOP' and call('ZSCORE', timeline, job)
        if due_once and tonumber(due_once) > now then
            event = 'TML:'
        else
            call('ZREM', timeline, job)
            if due_once then
                plan = 'queue'
            else
                event = 'STP:'
            end
        end
    end
    local entered
    if plan == 'queue' and text then
        entered = enter(job, queue, members)
        if entered then
            event = 'ENQ:'
        else
            -- A key of a wrong type takes nothing: the dispatcher tries again, and reports it.
            call('ZADD', timeline, second, job)
            event = 'TML:'
        end
    end
    if holder == mine then
        call('DEL', tag)
    end
    return 'ended', false, event, entered
end

-- Give the job its tag, unless it is running; `again`: that has been made sure of.
local function hand_out(job, number, tag, again)
    local timeout_ms = ARGV[6 + number]
    local given = again and try('SET', tag, nonce, 'PX', timeout_ms) or try('SET', tag, nonce, 'PX', timeout_ms, 'NX')
    if not given then
        return false
    end
    if given.err then
        if not again then
            -- Back to where it was taken from.
            local queue, members = KEYS[7 + 3 * number], KEYS[8 + 3 * number]
            if type(try('RPUSH', queue, job)) == 'table' then
                try('LPUSH', queue, job)
            end
            try('SADD', members, job)
        end
        call('SET', tag, nonce, 'PX', timeout_ms) -- fails the call in its own words
    end
    if is_indexed then
        local deadline = string.format('%.3f', now + timeout_ms / 1000)
        try('ZADD', running, deadline, nonce .. '\n' .. KEYS[7 + 3 * number] .. '\n' .. job)
    end
    return true
end

-- Take the next job out of a queue: the job, false where there is none, or the reply of a server that gives none.
-- Entries of jobs that were unset meanwhile are skipped; also returned is whether there may be more of them.
local function pop(queue, members)
    for _ = 1, 100 do
        if cautions ~= '' and string.find(cautions, 'ask', 1, true) then
            local first = try('LINDEX', queue, -1)
            if type(first) == 'string' then
                call('EXISTS', queue .. '-' .. first)
            end
        end
        local job = try('RPOP', queue)
        if not job then
            return false
        elseif type(job) == 'table' then
            if string.sub(job.err, 1, 9) ~= 'WRONGTYPE' then
                call('RPOP', queue) -- A server that takes no writes: no queue is to blame, and the call fails.
            end
            return job
        end
        if try('SREM', members, job) ~= 0 then
            return job
        end
        local field = seldom().hole(queue, job)
        if type(try('HGET', holes, field)) ~= 'string' then
            return job
        end
        if tonumber(try('HINCRBY', holes, field, -1)) < 1 then
            try('HDEL', holes, field)
        end
    end
    return false, true
end

local ended, changed_text, place, job, troubles, empty = '-', false, '0', false, {}, {}
local status = { nil, nil, nil, nil } -- with room for two, job, status, job, status …: written at the end, in one go
local home, left = nil, nil -- the list into which the job of the run has gone, and how many are in it
local to_ring = {} -- list key -> bell key
-- One command, because each costs more than what it does. A key of another type is none here.
local memory, signal, holder
if #KEYS > end_keys then
    memory, signal, holder = unpack(call('MGET', memo, control, KEYS[end_keys + 1]))
else
    memory, signal = unpack(call('MGET', memo, control))
end
local noted = compare(memory, nonce)
if noted == 'newer' or (noted == 'same' and not is_repeated) then
    -- It was held up on a connection that its sender has given up, and nobody reads this; or two processes have the
    -- name of this caller, because one is a copy of the other's memory. Nothing may be handed out either way.
    return second .. ' ' .. microsecond .. ' outdated 0 0 0 -1\n'
end
if noted == 'same' then
    -- Retry of a completed call: hand the same job out again, unless it is somewhere else by now.
    local was_place, was_job
    ended, was_place, was_job = string.match(memory, '^%S+ (%S+) (%d+) (.*)$')
    local code = string.byte(places, tonumber(was_place))
    if was_job ~= '' and code then
        local number = code - 48
        local queue, members = KEYS[7 + 3 * number], KEYS[8 + 3 * number]
        local tag = queue .. '-' .. was_job
        holder = call('MGET', tag)[1]
        local is_elsewhere = call('EXISTS', tag) == 1
            or try('SISMEMBER', members, was_job) == 1
            or call('ZSCORE', timeline, was_job)
            or (is_indexed and not try('ZSCORE', running, nonce .. '\n' .. queue .. '\n' .. was_job))
        if holder == nonce or not is_elsewhere then
            hand_out(was_job, number, tag, true)
            place, job = was_place, was_job
            status[1], status[2] = job, 'WRK:' .. second
        end
    end
elseif #KEYS > end_keys then
    local event
    ended, changed_text, event, left = end_run(holder)
    if event then
        status[1], status[2] = ARGV[rest + 4], event .. second
    end
    if left then
        home = KEYS[end_keys + 2]
        to_ring[home] = KEYS[end_keys + 4]
    end
end

local is_halted = ARGV[2] == 'yes' and signal == 'HALT'
-- A repetition takes no other job: it may have been held up, too, and nobody read its reply.
if not job and not noted and places ~= '' and ended ~= 'changed' and not is_halted then
    if ended == '-' then
        -- A key of a wrong type fails the call here, before a job is taken.
        call('HLEN', schedules)
        call('ZCARD', timeline)
    end
    -- The first job that the places give.
    for at_place = 1, #places do
        local number = string.byte(places, at_place) - 48
        local at = 7 + 3 * number
        local queue, bell = KEYS[at], KEYS[at + 2]
        local next_job, is_more = pop(queue, KEYS[at + 1])
        if not next_job then
            empty[#empty + 1] = bell
            if is_more then
                to_ring[queue] = bell
            end
        elseif type(next_job) == 'table' then
            troubles[#troubles + 1] = number .. ' ' .. next_job.err
        else
            to_ring[queue] = bell
            if queue == home then
                left = left - 1
            end
            local tag, event = queue .. '-' .. next_job, nil
            -- The run tag may be the list or the set of a queue: another program must have written the id.
            local spells_a_queue = next_job == 'members'
            if cautions ~= '' and string.find(cautions, 'spell', 1, true) then
                for key = 10, end_keys do
                    spells_a_queue = spells_a_queue or KEYS[key] == tag
                end
            end
            if spells_a_queue then
                event = 'BAD:'
                troubles[#troubles + 1] = number .. ' a job is BAD, because its run tag would be the key of a queue: '
                    .. string.gsub(string.sub(next_job, 1, 100), '%c', '?')
            elseif hand_out(next_job, number, tag) then
                place, job, event = string.format('%d', at_place), next_job, 'WRK:'
            else
                -- Queued by somebody while it runs: its turn comes when that run is over.
                seldom().run_soon(next_job, second)
                event = 'TML:'
            end
            local count = #status
            status[count + 1], status[count + 2] = next_job, event .. second
            if job then
                break
            end
        end
    end
end
if is_halted then
    -- One idle worker after the other wakes up, and goes.
    for number = 1, queues do
        to_ring[KEYS[7 + 3 * number]] = KEYS[9 + 3 * number]
    end
end
if ended ~= 'changed' and (job or ended ~= '-' or is_repeated) then
    call('SETEX', memo, '86400', nonce .. ' ' .. ended .. ' ' .. place .. ' ' .. (job or ''))
end
if empty[2] and not job and not troubles[1] and not next(to_ring) and call('EXISTS', unpack(empty)) > 0 then
    -- Nothing is in these queues: the tokens that lie in their bells would wake workers for nothing.
    for i = 1, #empty do
        try('LPOP', empty[i])
    end
end

-- A worker that leaves jobs behind wakes the next idle worker.
for queue, bell in pairs(to_ring) do
    if (is_halted or queue ~= home or left > 0) and call('EXISTS', bell) == 0 then
        if is_halted or queue == home or try('EXISTS', queue) == 1 then
            try('LPUSH', bell, '1')
        end
    end
end
if status[1] then
    -- A hash of a wrong type loses the status, and no job.
    try('HSET', statuses, unpack(status))
end
local text = changed_text or (job and call('HGET', schedules, job))
job = job or ''
return second .. ' ' .. microsecond .. ' ' .. ended .. (is_halted and ' 1 ' or ' 0 ') .. place
    .. string.format(' %d %d\n', #job, text and #text or -1)
    .. job .. (text or '') .. table.concat(troubles, '\n')
