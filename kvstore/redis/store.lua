-- The store in Redis. One call of this script is one operation: atomic, since the server runs
-- scripts one at a time. What it keeps, all under one hash tag:
--
--   STATE   hash: format, revision, lease (the last id), floor (all later revisions are in LOG),
--           bytes (of LOG)
--   META    hash: key -> "revision lease own"; own is 1 if the lease was made for this pair alone
--   VALUES  hash: key -> value
--   INDEX   sorted set of all keys with score 0, so in the order of their bytes
--   LEASES  sorted set: id by time of expiry, in microseconds of the server's clock
--   HELD    sorted set of "lease/key" with score 0: the keys of each lease
--   LOG     stream: revision-n, the n-th change of the revision: k key [l lease v value]
--   BELL    stream of one entry: the last revision
--
-- A revision is the time in microseconds, or one more than the last if that is greater. So revisions
-- grow also over the loss of all data, and one that was lost in a failover is not given again
-- to another change: a watch that has seen it does not find it in LOG, and lists again.
--
-- Answers: {word, revision, milliseconds until the next lease is due or -1, ...}.
--
-- The server refuses writes when its memory is full, but only the first of a script. So a script that
-- frees begins with a deletion, and one that adds with an addition. Nothing here may fail after the
-- first write.

local STATE, META, VALUES, INDEX, LEASES, HELD, LOG, BELL = unpack(KEYS)
local FORMAT = '1'
local LOG_ENTRIES, LOG_BYTES = 16384, 67108864
local CHUNK = 1000 -- keys handled at a time
local call, match = redis.call, string.match

-- tostring would give 14 digits only.
local function text(number)
    return string.format('%.0f', number)
end

local kept = call('HMGET', STATE, 'revision', 'lease', 'floor', 'bytes', 'format')
if kept[5] and kept[5] ~= FORMAT then
    return redis.error_reply('ERR the store has the format ' .. kept[5] .. ', not ' .. FORMAT)
end
local born = kept[1]
-- Revision 1 is that of a store in which nothing was ever written.
local revision, floor = tonumber(kept[1] or 1), tonumber(kept[3] or 1)
local last_lease, bytes = tonumber(kept[2] or 0), tonumber(kept[4] or 0)
local time = call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local changed, log_is_void, entry = false, false, 0
local outgrown = false -- a revision is larger than LOG may be: nobody can follow, all list again

local function begin()
    revision = math.max(revision + 1, now)
    entry, changed = 0, true
    if not born then
        -- If pairs are there without STATE, it was lost, and with it what happened before.
        floor = call('EXISTS', INDEX) == 1 and revision or 1
        born, log_is_void, bytes = true, true, 0
    end
end

local function clear_log()
    if log_is_void then
        call('DEL', LOG, BELL)
        log_is_void = false
    end
end

local function entry_bytes(key, value)
    return #key + #value + 64
end

local function log(key, value, lease)
    if entry >= LOG_ENTRIES then
        outgrown = true
        return
    end
    clear_log()
    local id = text(revision) .. '-' .. entry
    entry = entry + 1
    bytes = bytes + entry_bytes(key, value or '')
    if value then
        call('XADD', LOG, id, 'k', key, 'l', lease, 'v', value)
    else
        call('XADD', LOG, id, 'k', key)
    end
end

-- How many entries of LOG to read at a time, so that it is about 256 kB.
local function log_page(entries)
    return math.max(1, math.min(256, math.floor(262144 * entries / (bytes + 1))))
end

-- Cuts LOG, by whole revisions, to seven eighths of its bounds.
local function trim()
    if outgrown then
        call('DEL', LOG)
        floor, bytes = revision, 0
        return
    end
    local entries = call('XLEN', LOG)
    if entries <= LOG_ENTRIES and bytes <= LOG_BYTES then
        return
    end
    local want_entries, want_bytes = LOG_ENTRIES * 7 / 8, LOG_BYTES * 7 / 8
    local count, from, last, done = log_page(entries), '-', nil, false
    while not done do
        local page = call('XRANGE', LOG, from, '+', 'COUNT', count)
        for _, item in ipairs(page) do
            local number = match(item[1], '^%d+')
            if number ~= last and entries <= want_entries and bytes <= want_bytes then
                done = true
                break
            end
            last, entries = number, entries - 1
            bytes = bytes - entry_bytes(item[2][2], item[2][6] or '')
            from = '(' .. item[1]
        end
        done = done or #page < count
    end
    floor = tonumber(last)
    call('XTRIM', LOG, 'MINID', '=', text(floor + 1))
end

-- The last thing of a script that may have begun revisions.
local function save()
    if not changed then
        return
    end
    clear_log()
    trim()
    call('HSET', STATE, 'revision', text(revision), 'lease', text(last_lease), 'floor', text(floor),
         'bytes', text(bytes), 'format', FORMAT)
    call('XADD', BELL, 'MAXLEN', '=', 1, text(revision) .. '-0', 'r', 1)
end

-- Revision, lease and own of a key, nil if it is not there.
local function look_up(key)
    local meta = call('HGET', META, key)
    if meta then
        return match(meta, '^(%d+) (%d+) (%d)$')
    end
end

local function leave_lease(key, lease, own)
    call('ZREM', HELD, lease .. '/' .. key)
    if own == '1' then
        call('ZREM', LEASES, lease)
    end
end

-- Deletes a key, if it is there.
local function remove(key)
    local number, lease, own = look_up(key)
    if not number then
        return
    end
    call('HDEL', META, key)
    call('HDEL', VALUES, key)
    call('ZREM', INDEX, key)
    if lease ~= '0' then
        leave_lease(key, lease, own)
    end
    log(key)
end

local function set(key, value, lease, own)
    local old, old_lease, old_own = look_up(key)
    call('HSET', VALUES, key, value)
    call('HSET', META, key, text(revision) .. ' ' .. lease .. ' ' .. own)
    if not old then
        call('ZADD', INDEX, 0, key)
    end
    if old and old_lease ~= '0' and old_lease ~= lease then
        leave_lease(key, old_lease, old_own)
    end
    if lease ~= '0' then
        call('ZADD', HELD, 0, lease .. '/' .. key)
    end
    log(key, value, lease)
end

-- ---- leases ----

local function new_lease(ttl_ms)
    last_lease = math.max(last_lease + 1, now)
    local id = text(last_lease)
    call('HSET', STATE, 'lease', id)
    call('ZADD', LEASES, now + ttl_ms * 1000, id)
    return id
end

local function end_lease(id)
    local begun = false
    while true do
        local members =
            call('ZRANGEBYLEX', HELD, '[' .. id .. '/', '(' .. id .. '0', 'LIMIT', 0, CHUNK)
        if #members == 0 then
            break
        end
        if not begun then
            begin()
            begun = true
        end
        for _, member in ipairs(members) do
            call('ZREM', HELD, member)
            remove(string.sub(member, #id + 2))
        end
    end
    call('ZREM', LEASES, id)
end

local function due_leases()
    return call('ZRANGEBYSCORE', LEASES, '-inf', now)
end

-- Before every write.
local function expire()
    for _, id in ipairs(due_leases()) do
        end_lease(id)
    end
end

-- ---- answers ----

local function answer(word, ...)
    local first = call('ZRANGE', LEASES, 0, 0, 'WITHSCORES')
    local due = -1
    if first[2] then
        due = math.max(0, math.ceil((tonumber(first[2]) - now) / 1000))
    end
    return {word, revision, due, ...}
end

local function add_pair(list, key, number, lease, value)
    local n = #list
    list[n + 1], list[n + 2], list[n + 3], list[n + 4] = key, tonumber(number), tonumber(lease), value
end

-- A function that tells for a key what look_up does, passing over pairs whose lease is due.
local function reader()
    local due = nil
    for _, id in ipairs(due_leases()) do
        due = due or {}
        due[id] = true
    end
    return function(key)
        local number, lease = look_up(key)
        if number and not (due and due[lease]) then
            return number, lease
        end
    end
end

-- ---- reading ----

local command = {}

function command.get(key)
    local number, lease = reader()(key)
    if not number then
        return answer('notfound')
    end
    return answer('ok', key, tonumber(number), tonumber(lease), call('HGET', VALUES, key) or '')
end

function command.exists(key)
    return answer('ok', reader()(key) and 1 or 0)
end

local function is_about(kind, prefix, key)
    if kind == 'key' then
        return key == prefix
    end
    return prefix == '' or string.sub(key, 1, #prefix + 1) == prefix .. '/'
end

-- Adds the changes after a revision to list, as pairs (those of a deletion have lease -1), whole
-- revisions until there are about `most` bytes. Returns the revision that was reached, whether there
-- is more, and the number of changes; nothing if that history is gone.
local function add_changes(list, since, most, kind, prefix)
    if since == text(revision) then
        return revision, 0, 0
    end
    local found, last = since == text(floor), since
    local from, count, size, added = since .. '-0', log_page(call('XLEN', LOG)), 0, 0
    while true do
        local page = call('XRANGE', LOG, from, '+', 'COUNT', count)
        for _, item in ipairs(page) do
            local number, fields = match(item[1], '^%d+'), item[2]
            if number == since then
                found = true
            elseif not found then
                return
            else
                if number ~= last and size >= most then
                    return tonumber(last), 1, added
                end
                last = number
                if not kind or is_about(kind, prefix, fields[2]) then
                    add_pair(list, fields[2], number, fields[4] or '-1', fields[6] or '')
                    added = added + 1
                    size = size + entry_bytes(fields[2], fields[6] or '')
                end
            end
            from = '(' .. item[1]
        end
        if #page < count then
            break
        end
    end
    if found then
        return revision, 0, added
    end
end

-- The changes after a revision.
function command.changes(since, most)
    local list = answer('ok', 0, 0)
    local reached, more = add_changes(list, since, tonumber(most))
    if not reached then
        return answer('history')
    end
    list[4], list[5] = reached, more
    return list
end

local function range(kind, prefix)
    if kind == 'key' then
        return '[' .. prefix, '[' .. prefix
    elseif prefix == '' then
        return '-', '+'
    end
    return '[' .. prefix .. '/', '(' .. prefix .. '0' -- '0' is the byte after '/'
end

-- One page of a list: the changes of what is listed after the revision `since` (that of the page
-- before; 0: there was none), then the pairs after the key `after` ('': from the first one on).
-- paging 0: only the changes. Answers the key after which to go on ('': this was the last page),
-- the number of changes, the changes, the pairs.
function command.list(kind, prefix, since, paging, after, most_pairs, most_bytes)
    local list = answer('ok', '', 0)
    if since ~= '0' then
        local reached, more, added = add_changes(list, since, tonumber(most_bytes), kind, prefix)
        if not reached or more == 1 then
            return answer('history')
        end
        list[5] = added
    end
    if paging == '0' then
        return list
    end
    local low, high = range(kind, prefix)
    if after ~= '' then
        low = '(' .. after
    end
    local see, most, size = reader(), tonumber(most_bytes), 0
    local keys = call('ZRANGEBYLEX', INDEX, low, high, 'LIMIT', 0, most_pairs)
    for i, key in ipairs(keys) do
        local number, lease = see(key)
        if number then
            local value = call('HGET', VALUES, key) or ''
            add_pair(list, key, number, lease, value)
            size = size + entry_bytes(key, value)
        end
        if size >= most or (i == #keys and #keys == tonumber(most_pairs)) then
            list[4] = key
            break
        end
    end
    return list
end

-- ---- writing ----

-- Puts; lease '0' and a time make a lease of its own.
local function put(key, value, lease, ttl_ms)
    if lease ~= '0' and not call('ZSCORE', LEASES, lease) then
        return answer('lease')
    end
    local own = '0'
    if ttl_ms ~= '0' then
        lease, own = new_lease(tonumber(ttl_ms)), '1'
    end
    begin()
    set(key, value, lease, own)
    return answer('ok')
end

function command.put(key, value, lease, ttl_ms)
    expire()
    return put(key, value, lease, ttl_ms)
end

-- previous '0': only if the key is not there.
function command.putif(key, value, lease, ttl_ms, previous)
    expire()
    local number = look_up(key)
    if previous == '0' and number then
        return answer('exists')
    elseif previous ~= '0' and not number then
        return answer('notfound')
    elseif previous ~= '0' and number ~= previous then
        return answer('modified')
    end
    return put(key, value, lease, ttl_ms)
end

-- previous '': whatever it is.
function command.delete(key, previous)
    expire()
    local number = look_up(key)
    if not number then
        return answer('notfound')
    elseif previous ~= '' and number ~= previous then
        return answer('modified')
    end
    begin()
    remove(key)
    return answer('ok')
end

function command.deletetree(prefix)
    expire()
    local low, high = range('tree', prefix)
    local count = 0
    while true do
        local keys = call('ZRANGEBYLEX', INDEX, low, high, 'LIMIT', 0, CHUNK)
        if #keys == 0 then
            break
        end
        if count == 0 then
            begin()
        end
        for _, key in ipairs(keys) do
            remove(key)
        end
        count = count + #keys
    end
    return answer('ok', count)
end

function command.grant(ttl_ms)
    expire()
    return answer('ok', tonumber(new_lease(tonumber(ttl_ms))))
end

function command.renew(id, ttl_ms)
    expire()
    -- Out and in, not changed: a full memory must not end leases.
    if call('ZREM', LEASES, id) == 0 then
        return answer('lease')
    end
    call('ZADD', LEASES, now + tonumber(ttl_ms) * 1000, id)
    return answer('ok')
end

function command.revoke(id)
    expire()
    end_lease(id)
    return answer('ok')
end

function command.expire()
    expire()
    return answer('ok')
end

-- Begins the revisions of a store that has none (any more), so that what lists it gets one that is
-- greater than all before.
function command.birth()
    if not born then
        begin()
        floor = revision
    end
    return answer('ok')
end

-- ---- transactions ----

-- -1, 0, 1. Lua's own order of strings is the locale's.
local function order_of_bytes(a, b)
    local common, step = math.min(#a, #b), 1024
    for from = 1, common, step do
        local to = math.min(from + step - 1, common)
        if string.sub(a, from, to) ~= string.sub(b, from, to) then
            for i = from, to do
                local x, y = string.byte(a, i), string.byte(b, i)
                if x ~= y then
                    return x < y and -1 or 1
                end
            end
        end
    end
    return #a == #b and 0 or #a < #b and -1 or 1
end

local function order_of_numbers(a, b)
    return a == b and 0 or a < b and -1 or 1
end

local function holds(key, by, relation, operand)
    local number = look_up(key)
    local order
    if by == 'revision' then
        order = order_of_numbers(tonumber(number or 0), tonumber(operand))
    elseif number then
        order = order_of_bytes(call('HGET', VALUES, key) or '', operand)
    else
        return false
    end
    if relation == '=' then
        return order == 0
    elseif relation == '!' then
        return order ~= 0
    end
    return order == (relation == '<' and -1 or 1)
end

-- compares: count, then key, 'revision' or 'value', relation, operand of each; then two branches:
-- count, then 'put', 'get' or 'delete', key, value, lease of each. Answers 1 or 0, then what the
-- branch got.
function command.txn(...)
    local args, at = {...}, 0
    local function take(count)
        at = at + count
        return unpack(args, at - count + 1, at)
    end
    expire()
    local succeeded = true
    for _ = 1, tonumber((take(1))) do
        succeeded = holds(take(4)) and succeeded
    end
    local branches = {}
    for i = 1, 2 do
        branches[i] = {}
        for step = 1, tonumber((take(1))) do
            branches[i][step] = {take(4)}
        end
    end
    local branch = branches[succeeded and 1 or 2]
    local got, writes = {}, false
    for _, step in ipairs(branch) do
        local type, key, _, lease = unpack(step)
        local number, key_lease = look_up(key)
        if type == 'get' then
            add_pair(got, key, number or 0, key_lease or 0,
                     number and call('HGET', VALUES, key) or '')
        elseif type == 'put' and lease ~= '0' and not call('ZSCORE', LEASES, lease) then
            return answer('lease')
        end
        writes = writes or type == 'put' or (type == 'delete' and number)
    end
    if writes then
        begin()
    end
    for _, step in ipairs(branch) do
        local type, key, value, lease = unpack(step)
        if type == 'put' then
            set(key, value, lease, '0')
        elseif type == 'delete' then
            remove(key)
        end
    end
    return answer('ok', succeeded and 1 or 0, unpack(got))
end

local run = command[ARGV[1]]
if not run then
    return redis.error_reply('ERR unknown command of the store')
end
local result = run(unpack(ARGV, 2))
save()
return result
