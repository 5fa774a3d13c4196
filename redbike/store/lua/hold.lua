-- hold: hold a queue, or all of the prefix: workers take nothing from it. Or release it.
--
-- KEYS  1 to 15: see _keys
-- ARGV  1 name of the queue without the prefix; '' for all of the prefix
--       2 who holds it, since when and why, as JSON; '' to release it
--       3 wake channel
-- Returns 1 if the queue was held before, else 0.

local name, entry, channel = ARGV[1], ARGV[2], ARGV[3]
local content = call('GET', held)
local is_read, names = pcall(cjson.decode, content or '{}')
if not is_read or type(names) ~= 'table' then
    names = {}
end
local was_held = names[name] ~= nil
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
