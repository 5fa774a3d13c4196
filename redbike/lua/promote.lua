-- promote: move jobs that were found due off the timeline and into their queues, then tell which are due next.
-- Each job is checked again, so any number of dispatchers may race.
--
-- KEYS  1 timeline  2 statuses  3 control
--       then for each queue: the list, its members, its bell
--       then for each job: its run tag (the timeline, for a job without a queue)
-- ARGV  1 now, Unix seconds; '' for the server's time
--       2 how many due jobs to tell at the most
--       3 number of queues
--       then for each job: its id, and the number of its queue, 1 upwards; 0: no queue can be told for it, it is bad
-- Returns  1 the time of the call, Unix seconds, as text
--          2 1 where the prefix is halted, else 0
--          3 ids of the jobs due next
--          4 where none is due: id and due time, Unix seconds as text, of the first to come; else an empty list
--          5 number of jobs queued
--          6 pairs of queue number and error text: queues that cannot take jobs; their jobs are due again in a second

local timeline, statuses, control = KEYS[1], KEYS[2], KEYS[3]
local queues = tonumber(ARGV[3])
local tags_from = 3 + 3 * queues

redis.call('HLEN', statuses)
redis.call('ZCARD', timeline)

local now = tonumber(ARGV[1])
if not now then
    local time = redis.call('TIME')
    now = time[1] + time[2] / 1000000
end
local second = string.format('%d', math.floor(now))
local later = string.format('%d', math.floor(now) + 1)
local jobs = (#ARGV - 3) / 2
local queued, troubles = 0, {}

if jobs > 0 then
    local ids, tags = {}, {}
    for i = 1, jobs do
        ids[i] = ARGV[2 + 2 * i]
        tags[i] = KEYS[tags_from + i]
    end
    local scores = redis.call('ZMSCORE', timeline, unpack(ids))
    local running = redis.call('EXISTS', unpack(tags)) > 0

    local waiting = {} -- by queue number: ids to queue
    local done, status, postponed = {}, {}, {}
    for i = 1, jobs do
        local number = tonumber(ARGV[3 + 2 * i])
        local score = scores[i] and tonumber(scores[i])
        if score and score <= now then
            if number == 0 then
                done[#done + 1] = ids[i]
                status[#status + 1] = ids[i]
                status[#status + 1] = 'BAD:' .. second
            elseif running and redis.call('EXISTS', tags[i]) == 1 then
                postponed[#postponed + 1] = later
                postponed[#postponed + 1] = ids[i]
                -- A tag that never expires would hold the job for ever.
                if redis.call('PTTL', tags[i]) == -1 then
                    redis.call('PEXPIRE', tags[i], 10000)
                end
            else
                local list = waiting[number] or {}
                waiting[number] = list
                list[#list + 1] = ids[i]
            end
        end
    end

    for number = 1, queues do
        local list = waiting[number]
        if list then
            local queue, members, bell = unpack(KEYS, 1 + 3 * number, 3 + 3 * number)
            local known = redis.pcall('SMISMEMBER', members, unpack(list))
            local short = redis.pcall('LLEN', queue)
            local fault = known.err or (type(short) == 'table' and short.err)
            if fault then
                troubles[#troubles + 1] = number
                troubles[#troubles + 1] = fault
                for _, id in ipairs(list) do
                    postponed[#postponed + 1] = later
                    postponed[#postponed + 1] = id
                end
            else
                local fresh = {}
                for i, id in ipairs(list) do
                    done[#done + 1] = id
                    -- Others may have left a job in the set that is not in the list; a short list is looked through.
                    if known[i] == 0 or (short <= 1000 and not redis.call('LPOS', queue, id)) then
                        fresh[#fresh + 1] = id
                        status[#status + 1] = id
                        status[#status + 1] = 'ENQ:' .. second
                    end
                end
                if #fresh > 0 then
                    redis.call('LPUSH', queue, unpack(fresh))
                    redis.call('SADD', members, unpack(fresh))
                    queued = queued + #fresh
                    if redis.call('EXISTS', bell) == 0 then
                        redis.call('LPUSH', bell, '1')
                    end
                end
            end
        end
    end
    if #postponed > 0 then
        redis.call('ZADD', timeline, unpack(postponed))
    end
    if #done > 0 then
        redis.call('ZREM', timeline, unpack(done))
    end
    if #status > 0 then
        redis.call('HSET', statuses, unpack(status))
    end
end

local due = redis.call('ZRANGEBYSCORE', timeline, '-inf', string.format('%.6f', now), 'LIMIT', 0, ARGV[2])
local first = #due == 0 and redis.call('ZRANGE', timeline, 0, 0, 'WITHSCORES') or {}
local halted = redis.pcall('GET', control) == 'HALT' and 1 or 0
return { string.format('%.6f', now), halted, due, first, queued, troubles }
