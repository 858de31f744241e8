-- responses.lua, version 1: what the scripts of stored responses share. It stands before each of them.
--
-- Stored, see proxy.responses.keyspace: of each client an index, the sizes, the streams; of each response
-- its document, its run and its events. A run is a HASH:
--   replica   who runs it; '' where it was buried
--   until     ms (server time) to which its lease lasts, 0 where it has ended
--   cancel    1 where it is to end
--   last      the sequence number of its last event, -1 for none
--   bytes     what its events count for
-- A response counts for the bytes of its document and its events as they are stored, and OVERHEAD for what
-- the server needs besides. What has expired counts until a save purges it. Bytes stay far below 2^53.
-- KEYS: 1 the client's index; 2 the index over all clients, where there is a budget over all.
-- Other keys are made from these: the client's have its hash tag, those of other clients are only touched where
-- there is a budget, that is on a single server.
local call, floor, format = redis.call, math.floor, string.format
local OVERHEAD, EACH, MOST, LONGEST, PURGED = 512, 64, 200, 50000, 32
local base, all = KEYS[1], KEYS[2]
local time = call('TIME')
local now = time[1] * 1000 + floor(time[2] / 1000)

local function whole(n) return format('%.0f', n) end

local function number(text) return tonumber(text or 0) end

local function deleted(doc) return call('STRLEN', doc) == 0 and call('EXISTS', doc) == 1 end

local function keep(key, ms)  -- a key that many share lives as long as the last of them
  if call('PTTL', key) < ms then call('PEXPIRE', key, whole(ms)) end
end

local function enter(id, bytes, expires)
  local old = number(call('HGET', base .. ':sizes', id))
  call('ZADD', base, whole(expires), id)
  call('HSET', base .. ':sizes', id, whole(bytes))
  if bytes ~= old then call('HINCRBY', base .. ':sizes', '@', whole(bytes - old)) end
  keep(base, expires - now)
  keep(base .. ':sizes', expires - now)
  if all then
    if call('ZADD', all, whole(expires), base .. ':' .. id) == 1 then old = 0 end
    if bytes ~= old then call('INCRBY', all .. ':bytes', whole(bytes - old)) end
    keep(all, expires - now)
    keep(all .. ':bytes', expires - now)
  end
end

local function drop(of, id)
  local bytes = call('HGET', of .. ':sizes', id)
  call('UNLINK', of .. ':doc:' .. id, of .. ':run:' .. id, of .. ':events:' .. id)
  call('ZREM', of, id)
  call('ZREM', of .. ':streams', id)
  if bytes then
    call('HDEL', of .. ':sizes', id)
    call('HINCRBY', of .. ':sizes', '@', '-' .. bytes)
  end
  if all and call('ZREM', all, of .. ':' .. id) == 1 and bytes then call('DECRBY', all .. ':bytes', bytes) end
  return number(bytes)
end

local function drop_member(member)
  local of, id = string.match(member, '^(.*):([^:]*)$')
  return drop(of, id)
end

local function drop_events(id)
  local run, size = base .. ':run:' .. id, call('HGET', base .. ':sizes', id)
  call('UNLINK', base .. ':events:' .. id)
  call('ZREM', base .. ':streams', id)
  local expires = call('ZSCORE', base, id)
  if size and expires and call('EXISTS', run) == 1 then
    enter(id, size - number(call('HGET', run, 'bytes')), expires)
    call('HSET', run, 'bytes', 0)
  end
end

local function due(key) return call('ZRANGEBYSCORE', key, '-inf', whole(now), 'LIMIT', 0, PURGED) end

local function purge()
  for _, id in ipairs(due(base)) do drop(base, id) end
  for _, id in ipairs(due(base .. ':streams')) do drop_events(id) end
  if all then
    for _, member in ipairs(due(all)) do drop_member(member) end
  end
end

-- Drops the oldest of an index until `over` is no more than 0, MOST of them at most. Says whether it got there.
local function make_room(key, own, over, drop_one)
  if over <= 0 then return true end
  local oldest = call('ZRANGE', key, 0, MOST)
  for _, member in ipairs(oldest) do
    if over <= 0 then return true end
    if member ~= own then over = over - drop_one(member) end
  end
  return over <= 0
end

-- Makes room for a response of so many bytes, no more than the quota. False where that takes another call.
local function fit(id, bytes, quota, budget)
  local more = bytes - number(call('HGET', base .. ':sizes', id))
  local over = number(call('HGET', base .. ':sizes', '@')) + more - quota
  local done = make_room(base, id, over, function(oldest) return drop(base, oldest) end)
  if not done and call('ZCARD', base) <= (call('ZSCORE', base, id) and 1 or 0) then
    call('UNLINK', base .. ':sizes')  -- a Redis that evicts has dropped the index, but not the sizes
    done = true
  end
  if all then
    over = number(call('GET', all .. ':bytes')) + more - budget
    done = make_room(all, base .. ':' .. id, over, drop_member) and done
  end
  return done
end

-- The most that its events can count for, once those from ARGV[at] on (number, event, ...) have been appended.
local function most_of_events(id, at, most)
  local bytes, last = number(call('HGET', base .. ':run:' .. id, 'bytes')), 0
  for i = at + 1, #ARGV, 2 do
    last = #ARGV[i] + EACH
    bytes = bytes + last
  end
  return math.min(bytes, math.max(most, last))
end

-- Appends the events that stand from ARGV[at] on (number, event, number, event, ...), but for those it has.
-- The oldest go beyond `most` bytes, never the last. Returns what all of them count for now.
local function append(id, at, most, lifetime)
  local run, stream = base .. ':run:' .. id, base .. ':events:' .. id
  local known = call('HMGET', run, 'last', 'bytes')
  local last, bytes = tonumber(known[1] or -1), number(known[2])
  for i = at, #ARGV, 2 do
    local sequence = tonumber(ARGV[i])
    if sequence > last then
      call('XADD', stream, whole(sequence + 1) .. '-0', 'e', ARGV[i + 1])
      last, bytes = sequence, bytes + #ARGV[i + 1] + EACH
    end
  end
  local length = call('XLEN', stream)
  while length > 1 and (bytes > most or length > LONGEST) do
    local first = call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
    call('XDEL', stream, first[1])
    length, bytes = length - 1, bytes - #first[2][2] - EACH
  end
  call('HSET', run, 'last', whole(last), 'bytes', whole(bytes))
  if length > 0 then
    call('PEXPIRE', stream, lifetime)
    call('ZADD', base .. ':streams', whole(now + lifetime), id)
    keep(base .. ':streams', tonumber(lifetime))
  end
  return bytes
end

local function state(run)
  local held = call('HMGET', run, 'replica', 'until', 'cancel', 'last')
  if not held[1] then return 'absent', held end
  if held[2] == '0' then return 'ended', held end
  return tonumber(held[2]) > now and 'running' or 'lapsed', held
end

local function tell(word, id) redis.pcall('PUBLISH', 'apex:responses', word .. ' ' .. base .. ':' .. id) end
