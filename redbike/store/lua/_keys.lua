-- _keys: the first part of every script. The loader puts _keys and _common before each file. It does nothing by itself.
--
-- KEYS  1 P-schedules  2 P-statuses  3 P-timeline  4 P-control  5 P:retries  6 P:running  7 P:extra  8 P:holes
--       9 P:payloads  10 P:due  11 P:runs  12 P:history  13 P:pauses  14 P:resume  15 P:held  16 P:metrics
--       These keys come first in every call. The header of a script lists the keys that follow, from 17 on.

local schedules, statuses, timeline, control, retries, running, extra, holes, payloads, due_key, runs, history, pauses, resume, held, metrics = unpack(KEYS, 1, 16)
local call, try = redis.call, redis.pcall
