-- _end: the third part of turn: read the arguments, and define the function that ends a run. It does nothing by itself.
--
-- KEYS and ARGV: see turn

local memo = KEYS[17]
local indexes, heeds_halt, channel, wants, records, process, counts, places, cautions, given_now = unpack(ARGV, 1, 10)
local request_id, repeated, queues = unpack(ARGV, 11, 13)
local is_indexed, is_repeated, is_counted = indexes == 'yes', repeated == 'yes', counts == 'yes'
local end_keys, timeouts = 17 + 3 * queues, #ARGV - queues -- after these come the keys to end a run, and the timeouts

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

-- Record what became of a run: in its counter, as a record of the history, and as the last run of the job if the job is
-- registered.
-- `planned` is the entry of P:due: due time and attempt.
local function record(job, outcome, planned, is_registered)
    if is_counted then
        try('HINCRBY', metrics, 'ended ' .. outcome .. ' ' .. string.sub(ARGV[16], #schedules - 8), '1')
    end
    if records == '0' then
        return
    end
    local began, fault = ARGV[23], ARGV[24]
    local ended = given_now ~= '' and given_now or string.format('%d.%03d', second, microsecond / 1000)
    if began == '' then
        -- A dispatcher ends the run. It does not know more than the status.
        local status = try('HGET', statuses, job)
        began = type(status) == 'string' and string.match(status, '^WRK:(%d+)$') or ended
    end
    -- Few long texts, because every part of a command costs as much as a text of a hundred characters.
    local body = outcome .. ' ' .. began .. ' ' .. ended .. ' '
    local text = body .. (planned or began .. ' 1') .. ' ' .. process .. ' ' .. fault
    if microsecond % 16 == 0 then
        try('XADD', history, 'MAXLEN', '~', records, '*', 'job', job, 'run', text)
    else
        try('XADD', history, '*', 'job', job, 'run', text) -- to trim the stream each time costs as much as to add
    end
    if is_registered then
        local last = try('HGET', runs, job)
        local count, failed
        if type(last) == 'string' then
            count, failed = string.match(last, '^(%d+) %S+ %S+ %S+ (%d+)')
        end
        if outcome == 'failed' or outcome == 'lost' or outcome == 'bad' then
            failed = (failed or 0) + 1
        elseif outcome ~= 'later' then
            failed = '0'
        end
        if outcome ~= 'later' then
            count = (count or 0) + 1
        end
        try('HSET', runs, job, (count or '0') .. ' ' .. body .. (failed or '0') .. ' ' .. fault)
    end
end

-- End the run. Return four values: the answer to the end ('ended', 'late' or 'changed'); the changed text; the event
-- for the status of the job, if there is an event; the length of the queue, if the job entered it.
local function end_run(holder)
    local tag, queue, members = unpack(KEYS, end_keys + 1, end_keys + 3)
    local job, mine, taken_from, known_text, plan, due, tries, began, outcome = unpack(ARGV, 14, 22)
    local overdue = began == 'overdue'
    -- What P:due held when the run began: its due time and the attempt.
    local planned = ARGV[25] ~= '' and ARGV[25]
    if overdue then
        planned = try('HGET', due_key, job)
        planned = type(planned) == 'string' and string.match(planned, '^%S+ %d+')
    end
    if holder ~= mine and not overdue then
        -- The tag has expired. The run still counts if it ended in time (Redis was away meanwhile), and if nothing has
        -- happened to the job since the worker took it.
        local counts = not holder
            and began ~= ''
            and call('EXISTS', tag) == 0
            and try('HGET', statuses, job) == 'WRK:' .. began
            and not call('ZSCORE', timeline, job)
            and not rare().has_extra(job)
            and try('SISMEMBER', members, job) ~= 1
        if not counts then
            record(job, 'late', planned)
            return 'late', false
        end
    end
    local text = call('HGET', schedules, job)
    if text and text ~= known_text and plan ~= 'die' and plan ~= 'quit' and plan ~= 'unset' and plan ~= 'lost' then
        return 'changed', text
    end
    -- An entry of the index of running jobs: run tag, list key and job id, a line each.
    local entry = (overdue or is_indexed) and mine .. '\n' .. taken_from .. '\n' .. job
    if overdue then
        -- The run is lost if it has no end. The job is lost, too, if it is in no other place now.
        local is_lost = call('ZREM', running, entry) == 1 and (holder == mine or call('EXISTS', tag) == 0)
        if not is_lost or call('ZSCORE', timeline, job) or try('SISMEMBER', members, job) == 1 then
            if is_lost then
                record(job, 'lost', planned, text)
            end
            return 'late', false
        end
    elseif is_indexed then
        try('ZREM', running, entry)
    end
    -- A timeline of a wrong type makes the call fail here, when a later call can still end the run.
    if plan == 'queue' then
        call('ZREM', timeline, job)
    else
        call('ZCARD', timeline)
    end
    -- The job gets its place first, and loses its tag after that. So it is not lost if the server refuses one of the
    -- two.
    local latest = (tries ~= '' or outcome == 'bad') and try('HGET', statuses, job)
    local is_the_latest = type(latest) == 'string' and string.sub(latest, 1, 4) == 'WRK:'
    local is_put_back, is_retried = false, false
    local factor
    if tries ~= '' then
        tries, factor = string.match(tries, '^(%S+) ?(%S*)')
    end
    if tries == 'later' then
        -- The run has not happened. It has the same due time again, unless somebody has set the job meanwhile.
        local again = string.format('%.3f', now + factor)
        if is_the_latest or type(latest) == 'table' then
            plan, due, is_put_back = 'at', again, true
        elseif text == 'PAUSED:STOP' then
            call('HSET', schedules, job, 'PAUSED:AT:' .. again) -- paused during its only run, which has not happened
        end
    elseif plan == 'bad' and outcome == 'bad' and not is_the_latest then
        plan = 'lost' -- somebody has set the job meanwhile: its places stay
    elseif tries == '0' then
        try('HDEL', retries, job)
    elseif tries ~= '' and text then
        -- Retry, unless the retries are used up, or somebody has set the job: then its schedule decides.
        local count = try('HINCRBY', retries, job, 1)
        if is_the_latest and type(count) == 'number' and count <= tonumber(tries) then
            plan, is_put_back, is_retried = 'at', true, true
            local LONGEST_DELAY = 300 -- seconds between two tries
            due = string.format('%.3f', now + math.min(LONGEST_DELAY, 2 ^ (count - 1) * factor))
        else
            try('HDEL', retries, job)
            if text == 'PAUSED:STOP' then
                call('HSET', schedules, job, 'PAUSED:AT:' .. string.format('%.3f', now))
            end
        end
    end
    if is_put_back then
        local first = string.match(planned or '', '^%S+') or ARGV[23]
        local attempt = string.match(planned or '', '^%S+ (%d+)') or 1
        try('HSET', due_key, job, string.format('%s %d k%s', first ~= '' and first or second, attempt + 1, due))
        local later = call('ZSCORE', timeline, job)
        if later and tonumber(later) > now and type(try('ZADD', extra, 'LT', due, job)) == 'number' then
            due = later -- a later run that is already planned stays on the timeline
        end
    else
        if planned then
            try('HDEL', due_key, job)
        end
        if wants ~= '' then
            try('HDEL', payloads, '\n\n' .. job)
        end
    end
    local event
    if plan == 'unset' or (not text and not is_put_back) then
        call('HDEL', schedules, job)
        try('HDEL', statuses, job)
        try('HDEL', retries, job)
        try('HDEL', payloads, job, '\n' .. job)
        try('HDEL', runs, job)
        try('HDEL', pauses, job)
        try('ZREM', resume, job)
        try('ZREM', extra, job)
        call('ZREM', timeline, job)
        if try('SREM', members, job) == 1 then
            try('LREM', queue, 0, job)
            try('HDEL', holes, rare().hole(queue, job))
        end
    elseif plan == 'at' then
        -- A sleeping dispatcher looks once per second even without a message.
        local earliest = tonumber(due) < second + 2 and call('ZRANGE', timeline, 0, 0, 'WITHSCORES')
        -- The earlier of two entries stays: a run that was enqueued during this run comes first.
        call('ZADD', timeline, 'LT', due, job)
        if earliest and (not earliest[2] or tonumber(due) < tonumber(earliest[2])) then
            try('PUBLISH', channel, '')
        end
        event = 'TML:'
    elseif plan == 'bad' then
        call('ZREM', timeline, job)
        try('ZREM', extra, job)
        event = 'BAD:'
    elseif plan == 'die' then
        event = 'DIE:'
    elseif plan == 'lost' then
        event = nil -- status and places stay as they are
    elseif plan ~= 'queue' then -- 'stop', 'pause', 'quit' or 'over'
        if plan ~= 'stop' and plan ~= 'pause' then
            call('HSET', schedules, job, 'STOP')
        end
        if plan == 'quit' then
            try('ZREM', extra, job)
            try('HDEL', pauses, job)
            try('ZREM', resume, job)
        end
        -- Somebody set the job to run once more while it ran. That run is still to come.
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
            -- A key of a wrong type accepts nothing. The dispatcher tries again, and reports the error.
            call('ZADD', timeline, second, job)
            event = 'TML:'
        end
    end
    if holder == mine then
        call('DEL', tag)
    end
    record(job, outcome, planned, text and plan ~= 'unset')
    if is_retried and is_counted then
        try('HINCRBY', metrics, 'retried ' .. string.sub(taken_from, #schedules - 8), '1')
    end
    return 'ended', false, event, entered
end
