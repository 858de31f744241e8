-- replicas.lua, version 2: a replica says that it lives, and learns how many do and, if it wants to, who.
--
-- Stored: a ZSET of replica id -> milliseconds (server time) of its last word,
--         a HASH of replica id -> what it says of itself (JSON, at most a few hundred bytes),
--         a version of that hash, which does not follow what only says how busy a replica is.
-- KEYS: 1 the ZSET, 2 the HASH, 3 the version; under one hash tag.
-- ARGV: 1 replica id; 2 its JSON, '' to say goodbye; 3 milliseconds after which silence means gone;
--       4 '1' where the JSON has news; 5 '1' to be told who lives.
-- Returns: {how many live, the version, the living as a flat list id, JSON, id, JSON, ... or nothing}.
-- Versions grow, and not by one: who has missed that all was lost is not told a version that it knows.
-- Version 1 gives none: who comes or leaves by it is noticed by the number of the living, and by nothing
-- where that stays the same: in a rolling update of it one leaves and another comes between two signs of
-- life, or one has another configuration. Who asks for the list is told; what replicas keep of it for when
-- the store is away is the old one until something else changes it.
-- Idempotent: saying it again only renews it. Bounded by the number of replicas.
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local silent = call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - ARGV[3]))
local news = #silent > 0
for i = 1, #silent do
  call('ZREM', KEYS[1], silent[i])
  call('HDEL', KEYS[2], silent[i])
end
if ARGV[2] == '' then
  call('ZREM', KEYS[1], ARGV[1])
  news = call('HDEL', KEYS[2], ARGV[1]) == 1 or news
else
  call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
  news = call('HSET', KEYS[2], ARGV[1], ARGV[2]) == 1 or ARGV[4] == '1' or news
  for i = 1, #KEYS do call('PEXPIRE', KEYS[i], ARGV[3] * 10) end
end
local version = call('GET', KEYS[3]) or '0'
if news then
  version = string.format('%.0f', math.max(version + 1, now))
  call('SET', KEYS[3], version, 'PX', ARGV[3] * 10)
end
local told = {}
if ARGV[5] == '1' then told = call('HGETALL', KEYS[2]) end
return {call('HLEN', KEYS[2]), version, told}
