-- responses_append.lua, version 1: a replica says that it still runs a response, and what has happened since.
--
-- ARGV: 1 id; 2 replica; 3 ms of its lease
--       4 quota of the client, bytes; 5 budget of all clients, bytes, where KEYS[2] is given
--       6 ms that events are kept; 7 the most bytes of them
--       8.. events: sequence number, sealed event, ...; none only renews the lease
-- Returns: 'running'; 'cancelled', it is to end; 'lost', it is not this replica's any more; 'absent', the
--          server has forgotten it, or dropped it to make room.
-- Idempotent: events up to the last that is known are passed over. A call drops a bounded number of responses.
local id, replica = ARGV[1], ARGV[2]
local run = base .. ':run:' .. id
local found, held = state(run)
if found == 'absent' then return deleted(base .. ':doc:' .. id) and 'lost' or 'absent' end
if found == 'ended' or held[1] ~= replica then return 'lost' end

call('HSET', run, 'until', whole(now + ARGV[3]))
if #ARGV > 8 then
  local size, expires = call('HGET', base .. ':sizes', id), call('ZSCORE', base, id)
  local before, most = number(call('HGET', run, 'bytes')), tonumber(ARGV[7])
  if size and expires then
    fit(id, size - before + most_of_events(id, 8, most), tonumber(ARGV[4]), tonumber(ARGV[5]))
  end
  local after = append(id, 8, most, ARGV[6])
  if size and expires then enter(id, size - before + after, expires) end
end
return held[3] == '1' and 'cancelled' or 'running'
