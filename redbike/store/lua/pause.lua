-- pause: put PAUSED: before the schedule of a job, and take the job off the timeline and out of its queue. A present run
-- continues to its end.
--
-- KEYS  1 to 16: see _keys  17 P:memo:CLIENT  18 P-Q  19 P-Q-members
-- ARGV  1 job id
--       2 request id, as for place; '' for none
--       3 how long the memo keeps the id, seconds; '' if it does not keep the id
--       4 'yes' if an earlier call with this id may have been carried out
--       5 when the job resumes by itself, Unix seconds; '' for never
--       6 who paused the job, since when and why, as JSON
-- Returns the schedule text as it is registered now; false if the job has no schedule; 'outdated' as place does.

local memo, queue, members = unpack(KEYS, 17, 19)
local job, request_id, keep_s, repeated, resumes_at, note = unpack(ARGV, 1, 6)

-- A key of a wrong type makes the call fail here, before its first write.
call('ZCARD', timeline)
call('SCARD', members)
call('LLEN', queue)
local text = call('HGET', schedules, job)

-- A call that was delayed must not undo a later set.
local noted = note_call(memo, request_id, keep_s, repeated)
if noted == 'same' then
    return text
elseif noted then
    return noted
end
if not text then
    return false
end
if not is_paused(text) then
    local due, extra_due = call('ZSCORE', timeline, job), try('ZSCORE', extra, job)
    due = due or (type(extra_due) == 'string' and extra_due)
    local was_queued = rare().leave(queue, members, job)
    if text == 'STOP' and was_queued then
        text = 'NOW'
    elseif text == 'STOP' and due then
        text = 'AT:' .. string.format('%.17g', due) -- the server may write 1.5e+9
    else
        try('HDEL', payloads, '\n' .. job) -- of an enqueued run, which does not happen
    end
    text = 'PAUSED:' .. text
    call('HSET', schedules, job, text)
    call('ZREM', timeline, job)
    try('ZREM', extra, job)
    try('HDEL', retries, job)
    try('HDEL', due_key, job)
    try('HSET', statuses, job, 'STP:' .. call('TIME')[1])
end
try('HSET', pauses, job, note)
if resumes_at == '' then
    try('ZREM', resume, job)
else
    call('ZADD', resume, resumes_at, job)
end
return text
