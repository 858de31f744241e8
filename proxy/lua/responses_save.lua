-- responses_save.lua, version 1: stores a response, and says what became of a background one.
--
-- ARGV: 1 id
--       2 mode: 'plain', not in the background
--               'begin', from now on replica 7 runs it, under a lease
--               'finish', by replica 7, which ran it
--               'bury', by anybody, where its lease has lapsed and 11 is still its last event
--       3 the sealed document
--       4 ms it is kept
--       5 quota of the client, bytes; 6 budget of all clients, bytes, where KEYS[2] is given
--       7 replica; 8 ms of its lease
--       9 ms that events are kept; 10 the most bytes of them
--       11 the sequence number of the last event that is known, for 'bury'
--       12.. events: sequence number, sealed event, ...
-- Returns: 'stored'; 'again': room is being made, call again; 'too_large' for the quota or the budget;
--          'gone': deleted, ended, or somebody else's by now.
-- Idempotent in every mode. A call drops a bounded number of responses. What was deleted never comes back.
local id, mode, document, ttl, replica = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[7]
local doc, run = base .. ':doc:' .. id, base .. ':run:' .. id
purge()

if deleted(doc) then return 'gone' end
local found, held = state(run)
local mine = held[1] == replica
if mode == 'begin' and found ~= 'absent' and (found == 'ended' or not mine) then return 'gone' end
if mode == 'finish' and found == 'ended' then return mine and 'stored' or 'gone' end
if mode == 'finish' and found ~= 'absent' and not mine then return 'gone' end
if mode == 'bury' and found ~= 'absent' and (found ~= 'lapsed' or held[4] ~= ARGV[11]) then return 'gone' end

local quota, budget = tonumber(ARGV[5]), tonumber(ARGV[6])
local bytes = #document + OVERHEAD + most_of_events(id, 12, tonumber(ARGV[10]))
if bytes > quota or (all and bytes > budget) then return 'too_large' end
if not fit(id, bytes, quota, budget) then return 'again' end

call('SET', doc, document, 'PX', ARGV[4])
bytes = #document + OVERHEAD
if mode == 'plain' then
  bytes = bytes + number(call('HGET', run, 'bytes'))
else
  local lease = mode == 'begin' and now + ARGV[8] or 0
  call('HSET', run, 'replica', mode == 'bury' and '' or replica, 'until', whole(lease))
  bytes = bytes + append(id, 12, tonumber(ARGV[10]), ARGV[9])
  call('PEXPIRE', run, ARGV[4])
  if lease == 0 then tell('ended', id) end
end
enter(id, bytes, now + ttl)
return 'stored'
