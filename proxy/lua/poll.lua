-- poll.lua, version 2: what a replica has missed of the records of health.lua, and what all are busy with.
--
-- Stored: the HASH of health.lua;
--         a HASH of replica id -> '<ms of its last word> <its load (JSON, proxy.peers.Load)>', as in version 1;
--         a HASH of the last sum of all loads: '@' -> '2 <ms at which it was begun> <JSON, proxy.peers.Sum>',
--         and replica id -> the number of that load of its that is in the sum;
--         a HASH of the next sum while it is made, the same but for '@': what is summed, who is left (msgpack).
-- KEYS: 1 the hash of health.lua, 2 the hash of loads; one hash tag. Where a load is told: 3 the sum, 4 the next.
-- ARGV: 1 the version known to the replica; 2 its id; 3 its load, '' for none; 4 ms after which a load is old
-- Returns: {now in ms, version, records, sum}. Records are a flat list name, JSON, name, JSON, ...; empty
--          where the version is the one known. The sum is {when it was begun, JSON, the number of this replica's
--          load that is in it or ''}; empty where no load is told or no sum is made yet.
-- A sum is made anew by the polls that find it older than FRESH, of another version or unreadable. Which load of
-- whom is in it is noted in the step that adds it, so nobody has to tell by times what of his own to take out.
-- Version 1 reads the same loads and does not know the sum. One that makes it otherwise needs keys of its own.
-- A load that cannot be added whole is not added at all.
-- Idempotent but for the moment. Bounded by the records kept, and for loads by STEP and the sum's size: a sum of
-- more numbers than STEP is made by several polls, each of which adds so many and one replica's more, and reads and
-- writes what there is of the sum. So a call grows with the targets of models that ask for loads, by about 2.5 us
-- for each of their three numbers: 1,000 targets are 7 ms, 5,000 are 38 ms. The first step lists the ids.
-- Where no load is told nothing of loads is read.
local call = redis.call
local FRESH, STEP = 500, 2000
local MOST = 1e9 -- a sum of numbers up to this is written by cjson digit by digit
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local version = call('HGET', KEYS[1], '@') or '0'
local records = {}
if version ~= ARGV[1] then
  local found = call('HGETALL', KEYS[1])
  for at = 1, #found, 2 do
    if found[at] ~= '@' then records[#records + 1], records[#records + 2] = found[at], found[at + 1] end
  end
end
if ARGV[3] == '' then return {now, version, records, {}} end
local old = tonumber(ARGV[4])

-- Whether `numbers` has numbers by names, and none that would leave a sum that nobody can write or read.
local function addable(numbers, whole)
  if type(numbers) ~= 'table' then return false end
  for name, value in pairs(numbers) do
    if type(name) ~= 'string' or type(value) ~= 'number' then return false end
    if not (value >= 0 and value <= MOST) or (whole and value % 1 ~= 0) then return false end
  end
  return true
end

-- Whether all of `load` can be added: it counts whole or not at all. One of version 1 has no number.
local function valid(load)
  return type(load) == 'table' and addable(load.in_flight, true) and addable(load.latencies)
    and addable({number = load.number}, true)
end

-- Adds a load to `sum`; how many numbers that were.
local function add(sum, load)
  local added, busy, slow = 1, sum.in_flight, sum.latencies
  for name, count in pairs(load.in_flight) do
    busy[name] = (busy[name] or 0) + count
    added = added + 1
  end
  for name, seconds in pairs(load.latencies) do
    local known = slow[name]
    if known then
      known[1], known[2] = known[1] + seconds, known[2] + 1
    else
      slow[name] = {seconds, 1}
    end
    added = added + 1
  end
  return added
end

-- The load of a replica; nil where it is old or nobody can read it.
local function load_of(id)
  local when, text = string.match(call('HGET', KEYS[2], id) or '', '^(%d+) (.*)$')
  if not when or math.abs(now - when) > old then
    call('HDEL', KEYS[2], id)
    return nil
  end
  local read, load = pcall(cjson.decode, text)
  return read and valid(load) and load or nil
end

-- Goes on with the next sum, or begins it; whether it is made now.
local function make()
  local kept = call('HGET', KEYS[4], '@')
  local read, sum = pcall(cmsgpack.unpack, kept or '')
  if not kept or not read or type(sum) ~= 'table' or sum.version ~= 2 then
    call('UNLINK', KEYS[4])
    sum = {version = 2, begun = now, in_flight = {}, latencies = {}, left = call('HKEYS', KEYS[2])}
  end
  local left, added = sum.left, 0
  while #left > 0 and added < STEP do
    local id = table.remove(left)
    local load = load_of(id)
    added = added + (load and add(sum, load) or 1)
    if load and load.number then call('HSET', KEYS[4], id, string.format('%.0f', load.number)) end
  end
  if #left > 0 then
    call('HSET', KEYS[4], '@', cmsgpack.pack(sum))
    call('PEXPIRE', KEYS[4], old)
    return false
  end
  local told = cjson.encode({in_flight = sum.in_flight, latencies = sum.latencies})
  call('HSET', KEYS[4], '@', string.format('2 %.0f ', sum.begun) .. told)
  call('RENAME', KEYS[4], KEYS[3])
  call('PEXPIRE', KEYS[3], old)
  return true
end

-- The sum as it is answered; nil where there is none.
local function read_sum()
  local kept = call('HMGET', KEYS[3], '@', ARGV[2])
  local begun, told = string.match(kept[1] or '', '^2 (%d+) (.*)$')
  return begun and {tonumber(begun), told, kept[2] or ''}
end

call('HSET', KEYS[2], ARGV[2], string.format('%.0f ', now) .. ARGV[3])
call('PEXPIRE', KEYS[2], old * 10)
local sum = read_sum()
if not sum or math.abs(now - sum[1]) >= FRESH then
  if make() then sum = read_sum() end
end
return {now, version, records, sum or {}}
