-- _keys: the first part of every script. The loader puts _keys and _common before each file. It does nothing by itself.
--
-- KEYS  1 P-schedules  2 P-statuses  3 P-timeline  4 P-control  5 P:retries  6 P:running  7 P:extra  8 P:holes
--       These eight keys come first in every call. The header of a script lists the keys that follow.

local schedules, statuses, timeline, control, retries, running, extra, holes = unpack(KEYS, 1, 8)
local call, try = redis.call, redis.pcall
