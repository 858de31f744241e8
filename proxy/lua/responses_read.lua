-- responses_read.lua, version 1: how a background response stands, and its events from one on.
--
-- ARGV: 1 id; 2 the first event as the stream names it; 3 the most events, 0 for none
-- Returns: {state, sequence number of the last event, event id, sealed event, ...}. The state is 'running',
--          'lapsed' where its lease is over, 'ended', or 'absent'. What has ended has no more events than
--          these, if they are fewer than asked for.
local found, held = state(base .. ':run:' .. ARGV[1])
local answer = {found, tonumber(held[4] or -1)}
if ARGV[3] ~= '0' then
  local events = call('XRANGE', base .. ':events:' .. ARGV[1], ARGV[2], '+', 'COUNT', ARGV[3])
  for _, event in ipairs(events) do
    answer[#answer + 1], answer[#answer + 2] = event[1], event[2][2]
  end
end
return answer
