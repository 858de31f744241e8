-- poll.lua, version 1: what a replica has missed of the records of health.lua, and what all are busy with.
--
-- Stored: the HASH of health.lua;
--         a HASH of replica id -> '<ms of its last word> <its load (JSON, proxy.peers.Load)>'.
-- KEYS: 1 the hash of health.lua, 2 the hash of loads; one hash tag.
-- ARGV: 1 the version known to the replica; 2 its id; 3 its load, '' for none; 4 ms after which a load is old
-- Returns: {now in ms, version, records, loads}. Records are a flat list name, JSON, name, JSON, ...; empty
--          where the version is the one known. Loads are the JSON of the other replicas.
-- Idempotent. Bounded by the records kept and the number of replicas.
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local version = call('HGET', KEYS[1], '@') or '0'
local records, loads = {}, {}
if version ~= ARGV[1] then
  local found = call('HGETALL', KEYS[1])
  for at = 1, #found, 2 do
    if found[at] ~= '@' then records[#records + 1], records[#records + 2] = found[at], found[at + 1] end
  end
end
local said = call('HGETALL', KEYS[2])
for at = 1, #said, 2 do
  local when, load = string.match(said[at + 1], '^(%d+) (.*)$')
  if not when or math.abs(now - when) > tonumber(ARGV[4]) then
    call('HDEL', KEYS[2], said[at])
  elseif said[at] ~= ARGV[2] then
    loads[#loads + 1] = load
  end
end
if ARGV[3] ~= '' then
  call('HSET', KEYS[2], ARGV[2], string.format('%.0f ', now) .. ARGV[3])
  call('PEXPIRE', KEYS[2], ARGV[4] * 10)
end
return {now, version, records, loads}
