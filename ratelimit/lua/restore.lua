-- restore.lua, version 2: tells a limit what it has missed: use while the server was away, or what it forgot.
--
-- Stored: see admit.lua.
-- KEYS: 1 the limit.
-- ARGV: 1 '~' and a mark of this replay, or '' where nothing is to be charged
--       2 lease, whole seconds
--       3 milliseconds an untouched key lives
--       4 <i8 x8: drain per us of requests and of tokens (0 means a strict window); when a header was last
--         seen, in us, or 0 for now; the requests and tokens it had: the floor; requests and tokens to charge;
--         1 where the floor holds only if what is here is older than that header: then the server forgot
--       5.. ids of reservations that are still held, at most 1000
-- Returns: whole numbers {now in us, leases brought back}
-- Idempotent: a floor only raises, a mark charges once while its lease lives (each retry renews it), and a
-- lease that is there is only renewed, even one that has lapsed: its heartbeats could not be told meanwhile.
local call, pack, unpick = redis.call, struct.pack, struct.unpack
local key, time = KEYS[1], redis.call('TIME')
local second = time[1] - 1735689600
local now, lapse = second * 1000000 + time[2], second + ARGV[2]
local rdrain, tdrain, seen, rfloor, tfloor, radd, tadd, older = unpick('<i8i8i8i8i8i8i8i8', ARGV[4])
local at, requests, tokens, held, due, log = now, 0, 0, 0, lapse, ''
local value = call('HGET', key, '@')
if value then
  at, requests, tokens, held, due = unpick('<i8i8i8i8i8', value)
  log = string.sub(value, 41)
  if older == 1 and at >= seen then rfloor, tfloor = 0, 0 end
end
local lease = pack('<I4I4', lapse, second)
if ARGV[1] == '' or call('HSET', key, ARGV[1], lease) == 0 then radd, tadd = 0, 0 end
local back = 0
for i = 5, #ARGV do
  local old = call('HGET', key, ARGV[i])
  if not old then back = back + 1 end
  call('HSET', key, ARGV[i], old and string.sub(lease, 1, 4) .. string.sub(old, 5) or lease)
end

local passed = (seen > 0 and now > seen) and now - seen or 0
if rdrain ~= 0 then
  if now > at then
    requests = math.max(requests - (now - at) * rdrain, 0)
    tokens = math.max(tokens - (now - at) * tdrain, 0)
  end
  requests = math.max(requests, rfloor - passed * rdrain) + radd
  tokens = math.max(tokens, tfloor - passed * tdrain) + tadd
else
  local from, till = 1, #log
  while from < till do
    local s, r, t = unpick('<I4I4I8', log, from)
    if s >= second - 60 then break end
    requests, tokens, from = requests - r, tokens - t, from + 16
  end
  if passed < 60000000 then
    radd, tadd = radd + math.max(rfloor - requests, 0), tadd + math.max(tfloor - tokens, 0)
  end
  requests, tokens = requests + radd, tokens + tadd
  local s = second
  if from < till then
    local last, r, t = unpick('<I4I4I8', log, till - 15)
    if last >= second then s, radd, tadd, till = last, radd + r, tadd + t, till - 16 end
  end
  log = string.sub(log, from, till) .. pack('<I4I4I8', s, radd, tadd)
end
call('HSET', key, '@', pack('<i8i8i8i8i8', now, requests, tokens, held + back, due) .. log)
local wait = rdrain == 0 and 0 or math.max(requests / rdrain, tokens / tdrain) / 1000
call('PEXPIRE', key, string.format('%.0f', ARGV[3] + math.ceil(wait)))
return {now, back}
