-- replicas.lua, version 1: a replica says that it lives, and learns who else does.
--
-- Stored: a ZSET of replica id -> milliseconds (server time) of its last word,
--         a HASH of replica id -> what it says of itself (JSON, at most a few hundred bytes).
-- KEYS: 1 the ZSET, 2 the HASH, under one hash tag.
-- ARGV: 1 replica id; 2 its JSON, '' to say goodbye; 3 milliseconds after which silence means gone.
-- Returns: the living as a flat list: id, JSON, id, JSON, ...
-- Idempotent: saying it again only renews it. Bounded by the number of replicas.
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local silent = call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - ARGV[3]))
for i = 1, #silent do
  call('ZREM', KEYS[1], silent[i])
  call('HDEL', KEYS[2], silent[i])
end
if ARGV[2] == '' then
  call('ZREM', KEYS[1], ARGV[1])
  call('HDEL', KEYS[2], ARGV[1])
else
  call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
  call('HSET', KEYS[2], ARGV[1], ARGV[2])
  call('PEXPIRE', KEYS[1], ARGV[3] * 10)
  call('PEXPIRE', KEYS[2], ARGV[3] * 10)
end
return call('HGETALL', KEYS[2])
