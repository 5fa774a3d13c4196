-- turn: end one run and begin the next, in one step; either half may be left out.
--
-- KEYS  1 schedules  2 statuses  3 timeline  4 control  5 memo  6 running  7 retries
--       then for each queue that is served: the list, its members, its bell
--       then, to end a run: its tag, the list that the job goes back into, that one's members, its bell
--       (The run tag of the job that is taken is the one key not named here: only the script learns which job that is.)
-- ARGV  1 now, Unix seconds; '' for the server's time
--       2 nonce: becomes the run tag of the job that is taken. A second call with it hands out the same job again,
--         for the reply to the first was lost
--       3 'yes' to keep the index of running jobs
--       4 'yes' to take nothing from a halted prefix
--       5 wake channel
--       6 numbers of the queues to look at, in order, parted by blanks; '' takes nothing
--       7 number of queues
--       then for each queue: how long a run from it may take, milliseconds
--       then, to end a run:
--         1 job id  2 run tag  3 key of the list that it was taken from
--         4 the schedule text that the plan was made from
--         5 the plan: 'queue', 'at', 'stop', 'bad', 'die', 'quit' (the job stopped itself) or 'unset'
--         6 for 'at': the due time, Unix seconds
--         7 how often the job is tried again before the plan is carried out; '' where that is not counted,
--           0 where the run went well and earlier tries are to be forgotten
--         8 what the delay before such a try, seconds, is multiplied with
--         9 'yes' where the run has outlived its timeout, and the index, not the tag, tells whether it is still to be ended
-- Returns  1 the time of the call, Unix seconds, as text
--          2 how the ending went: '' none asked for; 'ended'; 'late': the run is another's or over, nothing was changed;
--            'changed': the schedule is another now, nothing was changed and nothing taken, plan again and call again
--          3 'changed': the schedule text as it is now; else false
--          4 1 where the prefix is halted (and ARGV 4 asks for it), else 0
--          5 which of the places in ARGV 6 gave the job, 1 upwards; 0: nothing was taken
--          6 id of the job taken, or false
--          7 its schedule text; false where it has none
--          8 pairs of queue number and error text: queues that could not be looked at

local schedules, statuses, timeline, control, memo, running, retries = unpack(KEYS, 1, 7)
local nonce, indexed, heeds_halt, channel, places = ARGV[2], ARGV[3] == 'yes', ARGV[4] == 'yes', ARGV[5], ARGV[6]
local queues = tonumber(ARGV[7])
local end_keys, end_args = 7 + 3 * queues, 7 + queues
local LONGEST_DELAY = 300 -- seconds between two tries

-- A key of a wrong type fails the call here, before its first write.
redis.call('HLEN', schedules)
redis.call('HLEN', statuses)
redis.call('ZCARD', timeline)
redis.call('ZCARD', running)
redis.call('HLEN', retries)

local now = tonumber(ARGV[1])
if not now then
    local time = redis.call('TIME')
    now = time[1] + time[2] / 1000000
end
local second = string.format('%d', math.floor(now))
local clock = string.format('%.6f', now)
local to_ring = {} -- list key -> bell key

local function set_status(job, event)
    redis.call('HSET', statuses, job, event .. ':' .. second)
end

local function enqueue(job, queue, members, bell)
    local known, length = redis.pcall('SISMEMBER', members, job), redis.pcall('LLEN', queue)
    if type(known) == 'table' or type(length) == 'table' then
        -- A key of a wrong type takes nothing: the dispatcher tries again, and reports it.
        redis.call('ZADD', timeline, second, job)
        set_status(job, 'TML')
        return
    end
    -- Others may have left a job in the set that is not in the list; a short list is looked through.
    if known == 0 or (length <= 1000 and not redis.call('LPOS', queue, job)) then
        redis.call('LPUSH', queue, job)
        redis.call('SADD', members, job)
    end
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
    return table.concat({ tag_value, queue, job }, '\n')
end

-- The due time of the next try, or nil where the tries are used up or whoever set the job meanwhile decides.
local function due_again(job, tries, factor)
    local status = redis.call('HGET', statuses, job)
    local count = redis.call('HINCRBY', retries, job, 1)
    if count > tries or not status or string.sub(status, 1, 4) ~= 'WRK:' then
        redis.call('HDEL', retries, job)
        return nil
    end
    return string.format('%.3f', now + math.min(LONGEST_DELAY, 2 ^ (count - 1)) * factor)
end

local function is_over(job, tag, mine, taken_from, members, overdue)
    local holder = redis.pcall('GET', tag)
    if not overdue then
        return holder ~= mine
    end
    local known = redis.call('ZREM', running, entry(mine, taken_from, job)) == 1
    local elsewhere = (holder and holder ~= mine)
        or redis.call('ZSCORE', timeline, job)
        or redis.pcall('SISMEMBER', members, job) == 1
    return elsewhere or not known
end

local function end_run()
    local tag, queue, members, bell = unpack(KEYS, end_keys + 1, end_keys + 4)
    local job, mine, taken_from, known_text, plan, due, tries, factor, overdue = unpack(ARGV, end_args + 1, end_args + 9)
    overdue, tries = overdue == 'yes', tonumber(tries)
    local text = redis.call('HGET', schedules, job)
    local by_schedule = plan == 'queue' or plan == 'at' or plan == 'stop' or plan == 'bad'
    if text and text ~= known_text and by_schedule and (overdue or redis.pcall('GET', tag) == mine) then
        return 'changed', text
    end
    if is_over(job, tag, mine, taken_from, members, overdue) then
        return 'late', false
    end
    redis.call('DEL', tag)
    if indexed and not overdue then
        redis.call('ZREM', running, entry(mine, taken_from, job))
    end
    if tries == 0 then
        redis.call('HDEL', retries, job)
    elseif tries and text then
        local again = due_again(job, tries, tonumber(factor))
        if again then
            plan, due = 'at', again
        end
    end
    if not text or plan == 'unset' then
        redis.call('HDEL', schedules, job)
        redis.call('HDEL', statuses, job)
        redis.call('HDEL', retries, job)
        redis.call('ZREM', timeline, job)
        if redis.pcall('SREM', members, job) == 1 then
            redis.pcall('LREM', queue, 0, job)
        end
    elseif plan == 'queue' then
        redis.call('ZREM', timeline, job)
        enqueue(job, queue, members, bell)
    elseif plan == 'at' then
        local earliest = redis.call('ZRANGE', timeline, 0, 0, 'WITHSCORES')[2]
        -- An earlier entry is a run that was asked for during this one: it comes first.
        redis.call('ZADD', timeline, 'LT', due, job)
        if tonumber(due) < now + 1 and (not earliest or tonumber(due) < tonumber(earliest)) then
            redis.call('PUBLISH', channel, job)
        end
        set_status(job, 'TML')
    elseif plan == 'stop' then
        stop(job, text, queue, members, bell)
    elseif plan == 'bad' then
        redis.call('ZREM', timeline, job)
        set_status(job, 'BAD')
    elseif plan == 'die' then
        set_status(job, 'DIE')
    elseif plan == 'quit' then
        redis.call('HSET', schedules, job, 'STOP')
        stop(job, text, queue, members, bell)
    end
    return 'ended', false
end

-- Gives the job its tag, unless somebody runs it.
local function hand_out(job, number, condition)
    local queue, timeout_ms = KEYS[5 + 3 * number], tonumber(ARGV[7 + number])
    if not redis.call('SET', queue .. '-' .. job, nonce, 'PX', timeout_ms, unpack(condition)) then
        return false
    end
    if indexed then
        redis.call('ZADD', running, string.format('%.3f', now + timeout_ms / 1000), entry(nonce, queue, job))
    end
    set_status(job, 'WRK')
    return true
end

-- Takes the first job that the places give: the number of the place, and the job.
local function take(troubles)
    local place = 0
    for number in string.gmatch(places, '%d+') do
        place = place + 1
        number = tonumber(number)
        local queue, members, bell = unpack(KEYS, 5 + 3 * number, 7 + 3 * number)
        local job = redis.pcall('RPOP', queue)
        if type(job) == 'table' then
            troubles[#troubles + 1] = number
            troubles[#troubles + 1] = job.err
        elseif job then
            redis.pcall('SREM', members, job)
            to_ring[queue] = bell
            if hand_out(job, number, { 'NX' }) then
                return place, job
            end
            -- Queued by somebody while it runs: its turn comes when that run is over.
            redis.call('ZADD', timeline, second, job)
            set_status(job, 'TML')
        end
    end
    return 0, false
end

-- What this very call did before its reply was lost: how the ending went, and the place and job that it handed out.
local function remembered()
    local memory = redis.pcall('GET', memo)
    if type(memory) ~= 'string' then
        return nil
    end
    local whose, ended, place, job = string.match(memory, '^(%S+) (%S+) (%d+) (.*)$')
    if whose ~= nonce then
        return nil
    end
    return ended, tonumber(place), job
end

local function queue_number_of(place)
    local position = 0
    for number in string.gmatch(places, '%d+') do
        position = position + 1
        if position == place then
            return tonumber(number)
        end
    end
end

local ended, changed_text, place, job, troubles = '', false, 0, false, {}
local was_ended, was_place, was_job = remembered()
if was_ended then
    ended = was_ended == '-' and '' or was_ended
    if was_place > 0 then
        -- The job that was handed out never began: it is handed out again, unless somebody else has it by now.
        local number = queue_number_of(was_place)
        local queue, members = unpack(KEYS, 5 + 3 * number, 6 + 3 * number)
        local tag = queue .. '-' .. was_job
        local holder = redis.pcall('GET', tag)
        local elsewhere = holder
            or redis.pcall('SISMEMBER', members, was_job) == 1
            or redis.call('ZSCORE', timeline, was_job)
            or (indexed and not redis.call('ZSCORE', running, entry(nonce, queue, was_job)))
        if holder == nonce or not elsewhere then
            hand_out(was_job, number, {})
            place, job = was_place, was_job
        end
    end
elseif #KEYS > end_keys then
    ended, changed_text = end_run()
end

local halted = heeds_halt and redis.pcall('GET', control) == 'HALT'
if not job and places ~= '' and ended ~= 'changed' and not halted then
    place, job = take(troubles)
end
if job or ended == 'ended' then
    redis.call('SET', memo, table.concat({ nonce, ended == '' and '-' or ended, place, job or '' }, ' '), 'EX', 86400)
end

-- Whoever leaves jobs behind wakes the next idle worker.
for queue, bell in pairs(to_ring) do
    if redis.call('EXISTS', queue) == 1 and redis.call('EXISTS', bell) == 0 then
        redis.call('LPUSH', bell, '1')
    end
end
local text = job and redis.call('HGET', schedules, job)
return { clock, ended, changed_text, halted and 1 or 0, place, job, text or false, troubles }
