-- tidy.lua, version 1: frees the leases of one limit that lapsed, and lets its key live on.
--
-- Apart from admit.lua because it is needed once in a lease, not in every request.
-- Stored: see admit.lua. '@scan' <i8 i8: cursor and earliest lapse seen, while a very large hash is walked.
-- KEYS: 1 the limit.
-- ARGV: 1 lease, whole seconds
--       2 milliseconds an untouched key lives
--       3 <i8 x2: drain per us of requests and of tokens. A drain of 0 means a strict window.
-- Returns: whole numbers {now in us, leases freed}
-- Idempotent. Bounded: one call looks at some 500 fields; `due` stays now until the walk is done.
-- A clock that stepped back would let leases outlive it: none lapses later than a lease from now.
-- What a lapsed reservation was charged stays charged: nobody is left to say what it used.
local call, unpick = redis.call, struct.unpack
local key, time = KEYS[1], redis.call('TIME')
local second = time[1] - 1735689600
local now = second * 1000000 + time[2]
local found = call('HMGET', key, '@', '@scan')
if not found[1] then return {now, 0} end
local at, requests, tokens, held, due = unpick('<i8i8i8i8i8', found[1])
local latest = second + ARGV[1]
if second < due and due <= latest then return {now, 0} end

local cursor, first = 0, latest
if found[2] then cursor, first = unpick('<i8i8', found[2]) end
local page = call('HSCAN', key, string.format('%.0f', cursor), 'COUNT', 500)
local fields, lapsed, early, freed = page[2], {}, {}, 0
for i = 1, #fields, 2 do
  local field = fields[i]
  local kind = string.sub(field, 1, 1)
  if kind ~= '@' then
    local lapse = unpick('<I4', fields[i + 1])
    if lapse <= second then
      lapsed[#lapsed + 1] = field
      if kind ~= '~' then freed = freed + 1 end
    elseif lapse > latest then
      early[#early + 1] = field
      early[#early + 1] = struct.pack('<I4', latest) .. string.sub(fields[i + 1], 5)
    elseif lapse < first then
      first = lapse
    end
  end
end
if #lapsed > 0 then call('HDEL', key, unpack(lapsed)) end
if #early > 0 then call('HSET', key, unpack(early)) end
due = first
if page[1] ~= '0' then
  call('HSET', key, '@scan', struct.pack('<i8i8', page[1], first))
  due = second
elseif found[2] then
  call('HDEL', key, '@scan')
end
local value = struct.pack('<i8i8i8i8i8', at, requests, tokens, held - freed, due)
call('HSET', key, '@', value .. string.sub(found[1], 41))
local rdrain, tdrain = unpick('<i8i8', ARGV[3])
local wait = rdrain == 0 and 0 or math.max(requests / rdrain, tokens / tdrain) / 1000
call('PEXPIRE', key, string.format('%.0f', ARGV[2] + math.ceil(wait)))
return {now, freed}
