-- turn: end one run and begin the next, in one step; either half may be left out.
--
-- KEYS  1 to 8: see _keys  9 P:memo:CALLER
--       then for each queue that is served: the list, its members, its bell
--       then, to end a run: its tag, the list that the job goes back into, that one's members, its bell
--       (The run tag of the job that is taken is the one key not named here: only the script learns which job that is.)
-- ARGV  1 'yes' to keep the index of running jobs
--       2 'yes' to take nothing from a halted prefix
--       3 wake channel
--       4 numbers of the queues to look at, in order, parted by blanks; '' takes nothing
--       5 'yes' to look at a job's run tag before the job is taken: on a Cluster the server may refuse that
--       6 'yes' where the run tag of a job could be the key of a list or set of these queues
--       7 number of queues
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
--         13 where the run ended within its timeout: when it began, whole Unix seconds; else ''
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
-- where it is needed, and numbers stay the words that they came as.

local memo = KEYS[9]
local places, queues = ARGV[4], ARGV[7]
local end_keys, rest = 9 + 3 * queues, 7 + queues
local given_now, nonce, is_repeated = ARGV[rest + 1], ARGV[rest + 2], ARGV[rest + 3] == 'yes'
local is_indexed = ARGV[1] == 'yes'
local LONGEST_DELAY = 300 -- seconds between two tries
local MOST_SKIPPED = 100 -- entries of unset jobs that one look at a queue skips

local second, microsecond = read_clock(given_now)

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
    local entered = enter(job, queue, members)
    if not entered then
        -- A key of a wrong type takes nothing: the dispatcher tries again, and reports it.
        call('ZADD', timeline, second, job)
        set_status(job, 'TML:')
        return
    end
    length[queue] = entered
    to_ring[queue] = bell
    set_status(job, 'ENQ:')
end

-- The run tag of a job in this list.
local function tag_of(queue, job)
    return queue .. '-' .. job
end

-- An entry of the index of running jobs: run tag, list key and job id, a line each.
local function entry(tag_value, queue, job)
    return tag_value .. '\n' .. queue .. '\n' .. job
end

-- Plan a run at this time; of two entries, the earlier: a run that was asked for during this one comes first.
local function put_on_the_timeline(job, due)
    -- A sleeping dispatcher looks by itself once a second.
    local earliest = tonumber(due) < second + 2 and call('ZRANGE', timeline, 0, 0, 'WITHSCORES')
    call('ZADD', timeline, 'LT', due, job)
    if earliest and (not earliest[2] or tonumber(due) < tonumber(earliest[2])) then
        try('PUBLISH', ARGV[3], '')
    end
    set_status(job, 'TML:')
end

local function end_run(holder)
    local tag, queue, members, bell = unpack(KEYS, end_keys + 1, end_keys + 4)
    local job, mine, taken_from, known_text, plan, due, tries, factor, overdue, began = unpack(ARGV, rest + 4, rest + 13)
    overdue = overdue == 'yes'
    if holder ~= mine and not overdue then
        -- A run whose tag has expired still counts where it ended in time, Redis was away meanwhile, and nothing has
        -- happened to the job since it was handed out.
        local counts = not holder
            and began ~= ''
            and call('EXISTS', tag) == 0
            and try('HGET', statuses, job) == 'WRK:' .. began
            and not call('ZSCORE', timeline, job)
            and not has_extra(job)
            and try('SISMEMBER', members, job) ~= 1
        if not counts then
            return 'late', false
        end
    end
    local text = call('HGET', schedules, job)
    if text and text ~= known_text and plan ~= 'die' and plan ~= 'quit' and plan ~= 'unset' then
        return 'changed', text
    end
    if overdue then
        -- Nobody has ended it, and the job is in no other place by now.
        local is_abandoned = call('ZREM', running, entry(mine, taken_from, job)) == 1
            and (holder == mine or call('EXISTS', tag) == 0)
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
    -- The job gets its place first, and loses its tag then: should the server refuse one of the two, it is not lost.
    if tries == '0' then
        try('HDEL', retries, job)
    elseif tries ~= '' and text then
        -- Tried again, unless the tries are used up, or the job was set meanwhile: then the new schedule decides.
        local latest, count = try('HGET', statuses, job), try('HINCRBY', retries, job, 1)
        local is_the_latest = type(latest) == 'string' and string.sub(latest, 1, 4) == 'WRK:'
        if is_the_latest and type(count) == 'number' and count <= tonumber(tries) then
            plan = 'at'
            due = string.format('%.3f', now() + math.min(LONGEST_DELAY, 2 ^ (count - 1) * factor))
            local planned = call('ZSCORE', timeline, job)
            if planned and tonumber(planned) > now() and not fault(try('ZADD', extra, 'LT', due, job)) then
                due = planned -- a later run that is planned already stays
            end
        else
            try('HDEL', retries, job)
        end
    end
    if not text or plan == 'unset' then
        call('HDEL', schedules, job)
        try('HDEL', statuses, job)
        try('HDEL', retries, job)
        try('ZREM', extra, job)
        call('ZREM', timeline, job)
        if try('SREM', members, job) == 1 then
            try('LREM', queue, 0, job)
            try('HDEL', holes, hole(queue, job))
        end
    elseif plan == 'queue' then
        enqueue(job, queue, members, bell)
    elseif plan == 'at' then
        put_on_the_timeline(job, due)
    elseif plan == 'bad' then
        call('ZREM', timeline, job)
        try('ZREM', extra, job)
        set_status(job, 'BAD:')
    elseif plan == 'die' then
        set_status(job, 'DIE:')
    else -- 'stop', 'quit' or 'over'
        if plan ~= 'stop' then
            call('HSET', schedules, job, 'STOP')
        end
        if plan == 'quit' then
            try('ZREM', extra, job)
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
    if holder == mine then
        call('DEL', tag)
    end
    return 'ended', false
end

-- Put a job back to where it was taken from.
local function give_back(job, number)
    local queue, members = KEYS[7 + 3 * number], KEYS[8 + 3 * number]
    if fault(try('RPUSH', queue, job)) then
        try('LPUSH', queue, job)
    end
    try('SADD', members, job)
end

-- Give the job its tag, unless it is running; `again`: that has been made sure of.
local function hand_out(job, number, again)
    local queue, timeout_ms = KEYS[7 + 3 * number], ARGV[7 + number]
    local tag = tag_of(queue, job)
    local given = again and try('SET', tag, nonce, 'PX', timeout_ms) or try('SET', tag, nonce, 'PX', timeout_ms, 'NX')
    if not given then
        return false
    end
    if given.err then
        if not again then
            give_back(job, number)
        end
        call('SET', tag, nonce, 'PX', timeout_ms) -- fails the call in its own words
    end
    if is_indexed then
        local deadline = string.format('%.3f', now() + timeout_ms / 1000)
        try('ZADD', running, deadline, entry(nonce, queue, job))
    end
    set_status(job, 'WRK:')
    return true
end

-- Whether the run tag of a job would be the list or the set of a queue: another program must have written its id.
local function spells_a_queue(queue, job)
    local tag = tag_of(queue, job)
    if job == 'members' then
        return true
    elseif ARGV[6] == 'yes' then
        for at = 10, end_keys do
            if KEYS[at] == tag then
                return true
            end
        end
    end
    return false
end

-- Take the next job out of a queue; false where it is empty. Entries of jobs that were unset meanwhile are skipped.
local function pop(queue, members, bell)
    for _ = 1, MOST_SKIPPED do
        if ARGV[5] == 'yes' then
            local first = try('LINDEX', queue, -1)
            if type(first) == 'string' then
                call('EXISTS', tag_of(queue, first))
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
        local is_skipped = false
        if try('SREM', members, job) == 0 then
            local field = hole(queue, job)
            local count = try('HGET', holes, field)
            is_skipped = type(count) == 'string'
            if is_skipped and tonumber(try('HINCRBY', holes, field, -1)) < 1 then
                try('HDEL', holes, field)
            end
        end
        if not is_skipped then
            return job
        end
    end
    to_ring[queue] = bell
    return false
end

-- Take the first job that the places give: the number of the place, and the job. `empty` gets the bells of the others.
local function take(troubles, empty)
    local place = 0
    for number in string.gmatch(places, '%d+') do
        place = place + 1
        local at = 7 + 3 * number
        local queue, members, bell = KEYS[at], KEYS[at + 1], KEYS[at + 2]
        local job = pop(queue, members, bell)
        if type(job) == 'table' then
            troubles[#troubles + 1] = number .. ' ' .. job.err
        elseif job then
            length[queue] = length[queue] and length[queue] - 1
            to_ring[queue] = bell
            if spells_a_queue(queue, job) then
                set_status(job, 'BAD:')
                troubles[#troubles + 1] = number .. ' a job is BAD, because its run tag would be the key of a queue: '
                    .. string.gsub(string.sub(job, 1, 100), '%c', '?')
            elseif hand_out(job, number) then
                return place, job
            else
                -- Queued by somebody while it runs: its turn comes when that run is over.
                run_soon(job, second)
                set_status(job, 'TML:')
            end
        else
            empty[#empty + 1] = bell
        end
    end
    return 0, false
end

local ended, changed_text, place, job, troubles, empty = '-', false, 0, false, {}, {}
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
    local position, number = 0, nil
    for word in string.gmatch(places, '%d+') do
        position = position + 1
        number = position == tonumber(was_place) and word or number
    end
    if was_job ~= '' and number then
        local queue, members = KEYS[7 + 3 * number], KEYS[8 + 3 * number]
        holder = get(tag_of(queue, was_job))
        local is_elsewhere = holder ~= false
            or try('SISMEMBER', members, was_job) == 1
            or call('ZSCORE', timeline, was_job)
            or (is_indexed and not try('ZSCORE', running, entry(nonce, queue, was_job)))
        if holder == nonce or not is_elsewhere then
            hand_out(was_job, number, true)
            place, job = was_place, was_job
        end
    end
elseif #KEYS > end_keys then
    ended, changed_text = end_run(holder)
end

local is_halted = ARGV[2] == 'yes' and signal == 'HALT'
-- A repetition takes no other job: it may have been held up, too, and nobody read its reply.
if not job and not noted and places ~= '' and ended ~= 'changed' and not is_halted then
    if ended == '-' then
        -- A key of a wrong type fails the call here, before a job is taken.
        call('HLEN', schedules)
        call('ZCARD', timeline)
    end
    place, job = take(troubles, empty)
end
if is_halted then
    -- One idle worker after the other wakes up, and goes.
    for number = 1, queues do
        to_ring[KEYS[7 + 3 * number]] = KEYS[9 + 3 * number]
        length[KEYS[7 + 3 * number]] = 1
    end
end
if ended ~= 'changed' and (job or ended ~= '-' or is_repeated) then
    call('SET', memo, nonce .. ' ' .. ended .. ' ' .. place .. ' ' .. (job or ''), 'EX', '86400')
end
if empty[2] and not job and not troubles[1] and not next(to_ring) and call('EXISTS', unpack(empty)) > 0 then
    -- Nothing is in these queues: the tokens that lie in their bells would wake workers for nothing.
    for i = 1, #empty do
        try('LPOP', empty[i])
    end
end

-- A worker that leaves jobs behind wakes the next idle worker.
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
