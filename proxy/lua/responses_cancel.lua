-- responses_cancel.lua, version 1: asks whoever runs a background response to end it.
--
-- ARGV: 1 id
-- Returns: 1 where it runs, else 0.
-- Idempotent. The replica hears of it by Pub/Sub, or with its next word about the response.
local run = base .. ':run:' .. ARGV[1]
if state(run) ~= 'running' then return 0 end
call('HSET', run, 'cancel', 1)
tell('cancel', ARGV[1])
return 1
