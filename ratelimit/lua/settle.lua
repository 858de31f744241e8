-- settle.lua, version 1: ends a reservation, giving back what it did not use or charging what it used more.
--
-- Stored: see admit.lua.
-- KEYS: the limits of one scope, all under one hash tag.
-- ARGV: 1 reservation id
--       2 milliseconds an untouched key lives
--       3.. per key <i8 x4: requests to add, tokens to add (below 0 gives back), drain per us of requests and
--           of tokens. A drain of 0 means a strict window.
-- Returns: a whole number: 0 the id is not there; 1 ended; else ended, and this is now in us (more was used)
-- Idempotent by reservation id: an id that is not there (settled, or its lease lapsed) changes nothing.
-- Giving back never goes below nothing used. In a strict log it goes to the second that was charged, and is
-- lost where that second has left the window. More is charged now, whatever the capacity: a debt.
local call, pack, unpick, id = redis.call, struct.pack, struct.unpack, ARGV[1]
local ended, second, now = 0, 0, 0

for i = 1, #KEYS do
  local key = KEYS[i]
  local radd, tadd, rdrain, tdrain = unpick('<i8i8i8i8', ARGV[i + 2])
  local lease = rdrain == 0 and call('HGET', key, id)
  if call('HDEL', key, id) == 1 then
    local value = call('HGET', key, '@')
    local at, requests, tokens, held, due = unpick('<i8i8i8i8i8', value)
    local log, wait = '', 0
    local more = radd > 0 or tadd > 0
    if more and now == 0 then
      local time = call('TIME')
      second = time[1] - 1735689600
      now = second * 1000000 + time[2]
    end
    if rdrain ~= 0 then
      if more then
        if now > at then
          requests = math.max(requests - (now - at) * rdrain, 0)
          tokens = math.max(tokens - (now - at) * tdrain, 0)
        end
        at = now
        wait = math.max((requests + radd) / rdrain, (tokens + tadd) / tdrain) / 1000
      end
      requests, tokens = requests + radd, tokens + tadd
      if requests < 0 then requests = 0 end
      if tokens < 0 then tokens = 0 end
    else
      log = string.sub(value, 41)
      local charged = unpick('<I4', lease, 5)
      for p = 1, #log, 16 do
        local s, r, t = unpick('<I4I4I8', log, p)
        if s == charged then
          local r1, t1 = math.max(r + math.min(radd, 0), 0), math.max(t + math.min(tadd, 0), 0)
          log = string.sub(log, 1, p - 1) .. pack('<I4I4I8', s, r1, t1) .. string.sub(log, p + 16)
          requests, tokens = requests - r + r1, tokens - t + t1
        end
      end
      if more then
        local from, till, s, r, t = 1, #log, second, math.max(radd, 0), math.max(tadd, 0)
        requests, tokens = requests + r, tokens + t
        while from < till do
          local old, a, b = unpick('<I4I4I8', log, from)
          if old >= second - 60 then break end
          requests, tokens, from = requests - a, tokens - b, from + 16
        end
        if from < till then
          local last, a, b = unpick('<I4I4I8', log, till - 15)
          if last >= second then s, r, t, till = last, r + a, t + b, till - 16 end
        end
        log = string.sub(log, from, till) .. pack('<I4I4I8', s, r, t)
      end
    end
    call('HSET', key, '@', pack('<i8i8i8i8i8', at, requests, tokens, held - 1, due) .. log)
    -- Heartbeats and admissions keep the key alive for what fits its capacity; a large debt needs longer.
    if wait > 0 and wait > ARGV[2] - 60000 then
      call('PEXPIRE', key, string.format('%.0f', ARGV[2] + math.ceil(wait)))
    end
    ended = 1
  end
end
return math.max(ended, now)
