-- hold: hold a queue, or all of the prefix: workers take nothing from it. Or release it.
--
-- KEYS  1 to 16: see _keys  17 P:memo:CLIENT
-- ARGV  1 name of the queue without the prefix; '' for all of the prefix
--       2 request id, as for place; '' for none
--       3 how long the memo keeps the id, seconds; '' if it does not keep the id
--       4 'yes' if an earlier call with this id may have been carried out
--       5 who holds it, since when and why, as JSON; '' to release it
--       6 wake channel
-- Returns 1 if the queue was held before, else 0; 'outdated' as place does.

local memo = KEYS[17]
local name, request_id, keep_s, repeated, entry, channel = unpack(ARGV, 1, 6)
local content = call('GET', held)
local is_read, names = pcall(cjson.decode, content or '{}')
if not is_read or type(names) ~= 'table' then
    names = {}
end
local was_held = names[name] ~= nil

-- A call that was delayed must not undo a later call.
local noted = note_call(memo, request_id, keep_s, repeated)
if noted == 'same' then
    return entry == '' and 1 or 0
elseif noted then
    return noted
end
names[name] = entry ~= '' and cjson.decode(entry) or nil
if next(names) == nil then
    call('DEL', held)
else
    -- If its memory is full, the server refuses SET, unless the script has already written something: here DEL.
    call('DEL', held)
    call('SET', held, cjson.encode(names))
end
try('PUBLISH', channel, '')
return was_held and 1 or 0
