-- heartbeat.lua, version 1: renews the leases one replica holds on one limit.
--
-- Stored: see admit.lua.
-- KEYS: 1 the limit.
-- ARGV: 1 lease, whole seconds
--       2 milliseconds an untouched key lives
--       3.. reservation ids, at most 1000
-- Returns: whole numbers {now in us, then the position (1 = the first id) of each id that is not there}
-- Idempotent: a lease only ever lapses later. An id that is not there is not brought back: it was settled, it
-- lapsed, or the server lost it, and only the caller knows which.
local time = redis.call('TIME')
local second = time[1] - 1735689600
local ids = {unpack(ARGV, 3)}
local leases = redis.call('HMGET', KEYS[1], unpack(ids))
local lapse, renewed, answer = struct.pack('<I4', second + ARGV[1]), {}, {second * 1000000 + time[2]}
for i = 1, #ids do
  if leases[i] then
    renewed[#renewed + 1] = ids[i]
    renewed[#renewed + 1] = lapse .. string.sub(leases[i], 5)
  else
    answer[#answer + 1] = i
  end
end
if #renewed > 0 then
  redis.call('HSET', KEYS[1], unpack(renewed))
  redis.call('PEXPIRE', KEYS[1], ARGV[2], 'GT')
end
return answer
