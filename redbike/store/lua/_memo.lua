-- _memo: a part of the scripts that write a memo, before the script itself: the function that recognises repeated and
-- delayed calls. It does nothing by itself.
--
-- KEYS and ARGV: see place

-- Note this call in the memo of the client. Return 'same' if an earlier call with this id was carried out, 'outdated' if
-- the memo has a later call, or has this call although it is not repeated: then nothing may be changed. Else nothing.
local function note_call(memo, request_id, keep_s, repeated)
    if request_id == '' then
        return nil
    end
    local noted = compare(call('MGET', memo)[1], request_id)
    if noted == 'same' and repeated == 'yes' then
        return 'same'
    elseif noted then
        return 'outdated'
    end
    if keep_s ~= '' then
        call('SET', memo, request_id, 'EX', keep_s)
    end
    return nil
end
