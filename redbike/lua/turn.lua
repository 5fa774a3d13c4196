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
--         12 'yes' where the run has outlived its timeout, and the index, not the tag, tells whether it is still to be ended
-- Returns one text, for a reply of many parts is slow to read. Its first line, parted by blanks:
--          1 the time of the call, whole Unix seconds  2 and microseconds (0 where ARGV gives the time)
--          3 how the ending went: '-' none asked for; 'ended'; 'late': the run is another's or over, nothing was changed;
--            'changed': the schedule is another now, nothing was changed and nothing taken, plan again and call again
--          4 1 where the prefix is halted (and ARGV 2 asks for it), else 0
--          5 which of the places in ARGV 4 gave the job, 1 upwards; 0: nothing was taken
--          6 length of the id of the job taken, bytes
--          7 length of its schedule text, or of the changed one, bytes; -1: there is none
--       Then the id, the text, and a line for each queue that could not be looked at: its number and the error.
--
-- Every job costs one call of this script, so the way that most of them take is kept short: what is seldom needed is made
-- where it is needed, and numbers stay the words that they came as.

local schedules, statuses, timeline, control, memo, running, retries = unpack(KEYS, 1, 7)
local places, queues = ARGV[4], ARGV[5]
local end_keys, rest = 7 + 3 * queues, 5 + queues
local given_now, nonce = ARGV[rest + 1], ARGV[rest + 2]
local is_indexed = ARGV[1] == 'yes'
local call, try = redis.call, redis.pcall
local LONGEST_DELAY = 300 -- seconds between two tries

-- The time of the call: whole Unix seconds, and microseconds.
local second, microsecond
if given_now == '' then
    local time = call('TIME')
    second, microsecond = time[1], time[2]
else
    second, microsecond = string.format('%d', math.floor(given_now)), '0'
end

local function now()
    return given_now == '' and second + microsecond / 1000000 or tonumber(given_now)
end

local status = {} -- job, status, job, status …: written at the end, in one go
local function set_status(job, event)
    local count = #status
    status[count + 1], status[count + 2] = job, event .. second
end

local length = {} -- list key -> how many jobs are in it, where we know
local to_ring = {} -- list key -> bell key

local function enqueue(job, queue, members, bell)
    local added = try('SADD', members, job)
    if added == 0 then
        -- Others may have left a job in the set that is not in the list; a short list is looked through.
        local known_length = try('LLEN', queue)
        if type(known_length) == 'number' and known_length <= 100 and not call('LPOS', queue, job) then
            added = 1
        end
    end
    local pushed = added == 1 and try('LPUSH', queue, job)
    if type(added) == 'table' or type(pushed) == 'table' then
        -- A key of a wrong type takes nothing: the dispatcher tries again, and reports it.
        try('SREM', members, job)
        call('ZADD', timeline, second, job)
        set_status(job, 'TML:')
        return
    end
    length[queue] = pushed or nil
    to_ring[queue] = bell
    set_status(job, 'ENQ:')
end

-- An entry of the index of running jobs: run tag, list key and job id, a line each.
local function entry(tag_value, queue, job)
    return tag_value .. '\n' .. queue .. '\n' .. job
end

local function end_run()
    local tag, queue, members, bell = unpack(KEYS, end_keys + 1, end_keys + 4)
    local job, mine, taken_from, known_text, plan, due, tries, factor, overdue = unpack(ARGV, rest + 4, rest + 12)
    overdue = overdue == 'yes'
    local holder = try('GET', tag)
    if holder ~= mine and not overdue then
        return 'late', false
    end
    local text = call('HGET', schedules, job)
    if text and text ~= known_text and plan ~= 'die' and plan ~= 'quit' and plan ~= 'unset' then
        return 'changed', text
    end
    if overdue then
        -- Nobody has ended it, and the job is in no other place by now.
        local is_abandoned = call('ZREM', running, entry(mine, taken_from, job)) == 1
            and (not holder or holder == mine)
            and not call('ZSCORE', timeline, job)
            and try('SISMEMBER', members, job) ~= 1
        if not is_abandoned then
            return 'late', false
        end
    elseif is_indexed then
        try('ZREM', running, entry(mine, taken_from, job))
    end
    -- A timeline of a wrong type fails the call here, while the run can still be ended later.
    if plan == 'queue' then
        call('ZREM', timeline, job)
    else
        call('ZCARD', timeline)
    end
    call('DEL', tag)
    if tries == '0' then
        try('HDEL', retries, job)
    elseif tries ~= '' and text then
        -- Tried again, unless the tries are used up, or whoever set the job meanwhile decides.
        local latest, count = try('HGET', statuses, job), try('HINCRBY', retries, job, 1)
        local is_the_latest = type(latest) == 'string' and string.sub(latest, 1, 4) == 'WRK:'
        if is_the_latest and type(count) == 'number' and count <= tonumber(tries) then
            plan = 'at'
            due = string.format('%.3f', now() + math.min(LONGEST_DELAY, 2 ^ (count - 1) * factor))
        else
            try('HDEL', retries, job)
        end
    end
    if not text or plan == 'unset' then
        call('HDEL', schedules, job)
        try('HDEL', statuses, job)
        try('HDEL', retries, job)
        call('ZREM', timeline, job)
        if try('SREM', members, job) == 1 then
            try('LREM', queue, 0, job)
        end
    elseif plan == 'queue' then
        enqueue(job, queue, members, bell)
    elseif plan == 'at' then
        -- A sleeping dispatcher looks by itself once a second.
        local earliest = tonumber(due) < second + 2 and call('ZRANGE', timeline, 0, 0, 'WITHSCORES')
        -- An earlier entry is a run that was asked for during this one: it comes first.
        call('ZADD', timeline, 'LT', due, job)
        if earliest and (not earliest[2] or tonumber(due) < tonumber(earliest[2])) then
            try('PUBLISH', ARGV[3], '')
        end
        set_status(job, 'TML:')
    elseif plan == 'bad' then
        call('ZREM', timeline, job)
        set_status(job, 'BAD:')
    elseif plan == 'die' then
        set_status(job, 'DIE:')
    else -- 'stop', 'quit' or 'over'
        if plan ~= 'stop' then
            call('HSET', schedules, job, 'STOP')
        end
        -- Set to run once more while it ran: then that run is still to come.
        local due_once = text == 'STOP' and call('ZSCORE', timeline, job)
        if due_once and tonumber(due_once) > now() then
            set_status(job, 'TML:')
        else
            call('ZREM', timeline, job)
            if due_once then
                enqueue(job, queue, members, bell)
            else
                set_status(job, 'STP:')
            end
        end
    end
    return 'ended', false
end

-- Gives the job its tag, unless somebody runs it; `anew`: that has been made sure of.
local function hand_out(job, number, anew)
    local queue, timeout_ms = KEYS[5 + 3 * number], ARGV[5 + number]
    local tag = queue .. '-' .. job
    local given = anew and call('SET', tag, nonce, 'PX', timeout_ms) or call('SET', tag, nonce, 'PX', timeout_ms, 'NX')
    if given then
        if is_indexed then
            local deadline = string.format('%.3f', now() + timeout_ms / 1000)
            try('ZADD', running, deadline, entry(nonce, queue, job))
        end
        set_status(job, 'WRK:')
    end
    return given
end

-- Takes the first job that the places give: the number of the place, and the job.
local function take(troubles)
    local place = 0
    for number in string.gmatch(places, '%d+') do
        place = place + 1
        local at = 5 + 3 * number
        local queue, members, bell = KEYS[at], KEYS[at + 1], KEYS[at + 2]
        local job = try('RPOP', queue)
        if type(job) == 'table' then
            if string.sub(job.err, 1, 9) ~= 'WRONGTYPE' then
                call('RPOP', queue) -- A server that takes no writes: no queue is to blame, and the call fails.
            end
            troubles[#troubles + 1] = number .. ' ' .. job.err
        elseif job then
            try('SREM', members, job)
            length[queue] = length[queue] and length[queue] - 1
            to_ring[queue] = bell
            if hand_out(job, number) then
                return place, job
            end
            -- Queued by somebody while it runs: its turn comes when that run is over.
            call('ZADD', timeline, second, job)
            set_status(job, 'TML:')
        end
    end
    return 0, false
end

local ended, changed_text, place, job, troubles = '-', false, 0, false, {}
local is_repeated, memory = ARGV[rest + 3] == 'yes', try('GET', memo)
local latest = type(memory) == 'string' and string.sub(memory, 1, #nonce) or ''
if latest > nonce or (latest == nonce and not is_repeated) then
    -- It was held up on a connection that its sender has given up: nobody reads this, and nothing may be handed out.
    return second .. ' ' .. microsecond .. ' - 0 0 0 -1\n'
end
if latest == nonce then
    -- This very call was carried out, and its reply was lost: hand the same job out again, unless somebody has it by now.
    local was_place, was_job
    ended, was_place, was_job = string.match(memory, '^%S+ (%S+) (%d+) (.*)$')
    local position, number = 0, nil
    for word in string.gmatch(places, '%d+') do
        position = position + 1
        number = position == tonumber(was_place) and word or number
    end
    if was_job ~= '' and number then
        local queue, members = KEYS[5 + 3 * number], KEYS[6 + 3 * number]
        local holder = try('GET', queue .. '-' .. was_job)
        local is_elsewhere = holder
            or try('SISMEMBER', members, was_job) == 1
            or call('ZSCORE', timeline, was_job)
            or (is_indexed and not try('ZSCORE', running, entry(nonce, queue, was_job)))
        if holder == nonce or not is_elsewhere then
            hand_out(was_job, number, true)
            place, job = was_place, was_job
        end
    end
elseif #KEYS > end_keys then
    ended, changed_text = end_run()
end

local is_halted = ARGV[2] == 'yes' and try('GET', control) == 'HALT'
-- A repetition takes nothing anew: it may have been held up, too, and nobody read its reply.
if not job and latest ~= nonce and places ~= '' and ended ~= 'changed' and not is_halted then
    if ended == '-' then
        -- A key of a wrong type fails the call here, before a job is taken.
        call('HLEN', schedules)
        call('ZCARD', timeline)
    end
    place, job = take(troubles)
end
if is_halted then
    -- One idle worker after the other wakes up, and goes.
    for number = 1, queues do
        to_ring[KEYS[5 + 3 * number]] = KEYS[7 + 3 * number]
        length[KEYS[5 + 3 * number]] = 1
    end
end
if ended ~= 'changed' and (job or ended ~= '-' or is_repeated) then
    call('SET', memo, nonce .. ' ' .. ended .. ' ' .. place .. ' ' .. (job or ''), 'EX', '86400')
end

-- Whoever leaves jobs behind wakes the next idle worker.
for queue, bell in pairs(to_ring) do
    if length[queue] ~= 0 and call('EXISTS', bell) == 0 then
        if length[queue] or try('EXISTS', queue) == 1 then
            try('LPUSH', bell, '1')
        end
    end
end
if status[1] then
    -- A hash of a wrong type loses the status, and no job.
    try('HSET', statuses, unpack(status))
end
local text = changed_text or (job and call('HGET', schedules, job))
return second .. ' ' .. microsecond .. ' ' .. ended .. (is_halted and ' 1 ' or ' 0 ') .. place
    .. ' ' .. #(job or '') .. ' ' .. (text and #text or -1) .. '\n'
    .. (job or '') .. (text or '') .. table.concat(troubles, '\n')
