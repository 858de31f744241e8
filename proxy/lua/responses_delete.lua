-- responses_delete.lua, version 1: deletes a response, with its events, and sees to it that it stays deleted.
--
-- ARGV: 1 id; 2 ms that nothing may be stored under it again; 3 '1' where a save of it waits in an outbox
-- Returns: 1 where there was one, else 0.
-- Idempotent. Whoever still runs it is told to end.
local id = ARGV[1]
local doc = base .. ':doc:' .. id
local there = call('STRLEN', doc) > 0
if deleted(doc) then return 0 end
local found = state(base .. ':run:' .. id)
drop(base, id)
if there or ARGV[3] == '1' then call('SET', doc, '', 'PX', ARGV[2]) end
if found == 'running' then tell('cancel', id) end
return there and 1 or 0
