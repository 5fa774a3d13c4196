-- turn: end a run and begin the next run. A call may also do only one of the two.
--
-- KEYS  1 to 16: see _keys  17 P:memo:CLIENT
--       then for each queue that is served: the list, its members, its bell
--       then, to end a run: its run tag, the list to which the job returns, the members and the bell of that list
--       (Only one key is not named here, the run tag of the job that is taken: the script itself finds the job's id.)
-- ARGV  1 'yes' to keep the index of running jobs
--       2 'yes' to take nothing from a halted prefix
--       3 wake channel
--       4 'run' if the worker wants due time, attempt and payload of the job that is taken; else ''
--       5 the number of records that the history keeps
--       6 this process, for the history: host and pid
--       7 'yes' to count runs in P:metrics
--       8 the queues at which to look, in order: for each a character, whose code is its number plus 48; '' takes
--         nothing
--       9 cautions that few calls need, separated by a blank: 'ask' to look at a job's run tag before the job is taken,
--         because the server of a Cluster may refuse this key; 'spell' if the run tag of a job could be the key of a
--         list or set of these queues
--       10 now, Unix seconds; '' for the server's time
--       11 request id of this call: it becomes the run tag of the job that is taken. The ids of one client grow, and
--         each client has its own memo. So a call that arrives after a later call, or after its own repetition, changes
--         nothing
--       12 'yes' if an earlier call with this id may have been carried out without a reply
--       13 number of queues
--       then, to end a run:
--         14 job id  15 run tag  16 key of the list from which it was taken
--         17 the schedule text from which the action was decided
--         18 the action: 'queue', 'at', 'stop', 'bad', 'over' (its schedule was for one run), 'die', 'quit' (StopWork),
--            'unset' or 'lost' (places and status stay as they are)
--         19 for 'at': the due time, Unix seconds
--         20 the most retries before the action is taken, and after a blank the factor of the delay before a retry; ''
--            if retries are not counted, 0 if the run succeeded and earlier retries are forgotten; 'later' and after a
--            blank the delay, seconds, if the run has not happened and is put back
--         21 if the run ended within its timeout: its begin, whole Unix seconds. 'overdue' if a dispatcher ends a run
--            that exceeded its timeout: then the index, not the tag, shows whether the run still has no end. Else ''
--         22 the outcome  23 the begin, Unix seconds; '' if not known  24 the error, or ''
--         25 due time and attempt, as this script returned them when the run began; '' if the due time was not known
--       then for each queue: how long a run from it may take, milliseconds
-- Returns one text, because a reply of many parts is slow to read. Its first line, separated by blanks:
--          1 the time of the call, whole Unix seconds  2 and microseconds (0 if ARGV gives the time)
--          3 the answer to the end of a run: '-': the call ends no run; 'ended'; 'late': the tag is gone or belongs to
--            another run, nothing was changed; 'changed': somebody has set another schedule, nothing was changed and
--            nothing taken: decide and call again; 'outdated': nothing was changed, because the memo has a later call
--            of this client, or has this call, although ARGV 12 is not 'yes'
--          4 1 if the prefix is halted (and ARGV 2 asks for it), else 0
--          5 which of the places in ARGV 8 gave the job, from 1; 0: nothing was taken
--          6 length of the id of the job taken, bytes
--          7 length of its schedule text, or of the changed text, bytes; -1: there is no text
--          8 length of its payload, bytes  9 attempt  10 due time, Unix seconds; '-': not known
--       Then the id, the text, the payload, and a line for each queue that failed: its number and the error.
--
-- Every job costs one call of this script, so the usual path through it is short. Functions that few calls need are
-- made only when needed. Numbers stay the texts that they were in the arguments, because '..' with a number costs as
-- much as a command.

local ended, changed_text, place, job, failures, empty = '-', false, '0', false, {}, {}
local text, is_read, is_same -- its schedule, and whether a repeated call hands it out again
local status = { nil, nil, nil, nil } -- job, status, job, status …, with room for two jobs; written by one command
local from_queue -- the list from which the job was taken
local home, left = nil, nil -- the list that the ended job entered, and how many jobs are in it
local to_ring = {} -- list key -> bell key
-- Read all with one command, because the overhead of a command is more than its work. MGET treats a key of another type
-- as missing.
local memory, signal, holding, holder
if #KEYS > end_keys then
    memory, signal, holding, holder = unpack(call('MGET', memo, control, held, KEYS[end_keys + 1]))
else
    memory, signal, holding = unpack(call('MGET', memo, control, held))
end
local noted = compare(memory, request_id)
if noted == 'newer' or (noted == 'same' and not is_repeated) then
    -- There are two cases. The call may have been delayed on a connection that the client has given up: then nobody
    -- reads this reply. Or two processes use this client id, because one is a copy of the other's memory. In both
    -- cases, no job may be handed out.
    return second .. ' ' .. microsecond .. ' outdated 0 0 0 -1 0 1 -\n'
end
if noted == 'same' then
    -- Repetition of a completed call: hand out the same job again, unless another worker took it.
    local was_place, was_job
    ended, was_place, was_job = string.match(memory, '^%S+ (%S+) (%d+) (.*)$')
    local code = string.byte(places, tonumber(was_place))
    if was_job ~= '' and code then
        local number = code - 48
        local queue, members = KEYS[15 + 3 * number], KEYS[16 + 3 * number]
        local tag = queue .. '-' .. was_job
        holder = call('MGET', tag)[1]
        local is_elsewhere = call('EXISTS', tag) == 1
            or try('SISMEMBER', members, was_job) == 1
            or call('ZSCORE', timeline, was_job)
            or (is_indexed and not try('ZSCORE', running, request_id .. '\n' .. queue .. '\n' .. was_job))
        if holder == request_id or not is_elsewhere then
            hand_out(was_job, number, tag, true)
            place, job, is_same = was_place, was_job, true
            status[1], status[2] = job, 'WRK:' .. second
        end
    end
elseif #KEYS > end_keys then
    local event
    ended, changed_text, event, left = end_run(holder)
    if event then
        status[1], status[2] = ARGV[14], event .. second
    end
    if left then
        home = KEYS[end_keys + 2]
        to_ring[home] = KEYS[end_keys + 4]
    end
end

local is_halted = heeds_halt == 'yes' and signal == 'HALT'
local names = holding and rare().held_names(holding)
local is_all_held = names and names[''] ~= nil
-- A repeated call takes no other job, because it may have been delayed too, and then nobody reads its reply.
if not job and not noted and places ~= '' and ended ~= 'changed' and not is_halted and not is_all_held then
    if ended == '-' then
        -- A key of a wrong type makes the call fail here, before a job is taken.
        call('HLEN', schedules)
        call('ZCARD', timeline)
    end
    -- Take the first job that is found at the places.
    for at_place = 1, #places do
        local number = string.byte(places, at_place) - 48
        local at = 15 + 3 * number
        local queue, bell = KEYS[at], KEYS[at + 2]
        local next_job, is_more, is_skipped
        if names and names[string.sub(queue, #schedules - 8)] ~= nil then
            is_skipped = true
        else
            next_job, is_more = pop(queue, KEYS[at + 1])
        end
        if is_skipped then
            -- Jobs stay in a queue that is held.
        elseif not next_job then
            empty[#empty + 1] = bell
            if is_more then
                to_ring[queue] = bell
            end
        elseif type(next_job) == 'table' then
            failures[#failures + 1] = number .. ' ' .. next_job.err
        else
            to_ring[queue] = bell
            if queue == home then
                left = left - 1
            end
            local tag, event = queue .. '-' .. next_job, nil
            -- The run tag may be the key of the list or the set of a queue, if another program wrote the job id.
            local spells_a_queue = next_job == 'members'
            if cautions ~= '' and string.find(cautions, 'spell', 1, true) then
                for key = 18, end_keys do
                    spells_a_queue = spells_a_queue or KEYS[key] == tag
                end
            end
            if spells_a_queue then
                event = 'BAD:'
                failures[#failures + 1] = number .. ' a job is BAD, because its run tag would be the key of a queue: '
                    .. string.gsub(string.sub(next_job, 1, 100), '%c', '?')
            else
                -- If this fails, the job has to get its tag before the call fails: then it is not lost.
                text = try('HGET', schedules, next_job)
                is_read = type(text) ~= 'table'
            end
            if event then
                -- It is BAD.
            elseif is_read and is_paused(text) then
                event = 'STP:' -- another program has paused the job while it was queued
            elseif hand_out(next_job, number, tag) then
                place, job, event = string.format('%d', at_place), next_job, 'WRK:'
                from_queue = queue
            else
                -- Another program queued the job while it runs. It runs again when its present run is over.
                rare().run_soon(next_job, second, microsecond)
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
    -- The idle workers wake up and end, one after the other.
    for number = 1, queues do
        to_ring[KEYS[15 + 3 * number]] = KEYS[17 + 3 * number]
    end
end
if ended ~= 'changed' and (job or ended ~= '-' or is_repeated) then
    call('SETEX', memo, '86400', request_id .. ' ' .. ended .. ' ' .. place .. ' ' .. (job or ''))
end
if empty[2] and not job and not failures[1] and not next(to_ring) and call('EXISTS', unpack(empty)) > 0 then
    -- These queues are empty. The tokens in their bells would wake workers without a reason.
    for i = 1, #empty do
        try('LPOP', empty[i])
    end
end

local payload, due_at, attempt
if job then
    due_at, attempt = planned_for(job, is_same)
    if is_counted and not is_same then
        -- Count it by its lateness, from the time for which it was planned: by the power of two milliseconds that this is
        -- below. If earlier attempts have come between, the delay was intended.
        local name, bucket = string.sub(from_queue, #schedules - 8), '-'
        if due_at and attempt == '1' then
            local late_ms = math.min(1e10, math.max(0, 1000 * (now - due_at))) -- another program may name any time
            local _, power = math.frexp(late_ms)
            bucket = power > 23 and 'inf' or string.format('%d', math.max(0, power))
            if late_ms >= 1 then
                try('HINCRBY', metrics, 'late_ms ' .. name, string.format('%d', late_ms))
            end
        end
        try('HINCRBY', metrics, 'started ' .. bucket .. ' ' .. name, '1')
    end
    if wants ~= '' then
        payload = payload_of(job, attempt and attempt ~= '1', is_same) or ''
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
    -- If the hash has a wrong type, the status is lost, but no job.
    try('HSET', statuses, unpack(status))
end
if not job then
    text = nil
elseif is_same or not is_read then
    text = call('HGET', schedules, job)
end
text = changed_text or text
job = job or ''
local about = ' 0 1 -\n'
if payload or due_at then
    about = string.format(' %d %s %s\n', payload and #payload or 0, attempt or '1', due_at or '-')
end
return second .. ' ' .. microsecond .. ' ' .. ended .. (is_halted and ' 1 ' or ' 0 ') .. place
    .. string.format(' %d %d', #job, text and #text or -1) .. about
    .. job .. (text or '') .. (payload or '') .. table.concat(failures, '\n')
