/*
 * What clients of a store did and saw, as records in the order of their happening; and the rules
 * that every history has to keep, whatever was done to the store meanwhile.
 *
 * Every operation has a number that no other has in the run; a write writes its number as the
 * value, so that whatever is seen in the store can be traced to the operation that put it there.
 */
#ifndef CHAOS_HISTORY_H
#define CHAOS_HISTORY_H

#include <fairway/kvstore.h>
#include <stdio.h>

#define CHAOS_KEY_BYTES 32
/* Keys of these beginnings are no data: those of locks, and the director's last word. */
#define CHAOS_LOCK_KEY "lock"
#define CHAOS_END_KEY  "end"

typedef enum chaos_what {
    CHAOS_INVOKE = 1, /* op, kind, key, previous (CAS), token (GUARDED: lock's; LEASED: lease) */
    CHAOS_RETURN,     /* op, status, succeeded (PAIR, GUARDED), revision */
    CHAOS_EVENT,      /* event, batch; key, revision, op (value) */
    CHAOS_LOCK_ASKED,
    CHAOS_LOCK_ACQUIRED, /* token */
    CHAOS_LOCK_LOST,
    CHAOS_LOCK_RELEASED,  /* the call: from here on the client does not count itself as holder */
    CHAOS_LEASE_GRANTED,  /* token: id */
    CHAOS_LEASE_LOST,     /* token: id */
    CHAOS_LEASE_RELEASED, /* token: id */
} chaos_what;

typedef enum chaos_kind {
    CHAOS_GET = 1, /* revision of the return: the pair's; 0: no such key */
    CHAOS_PUT,
    CHAOS_CAS, /* previous; 0: create */
    CHAOS_DELETE,
    CHAOS_PAIR,    /* one transaction that puts KEY/a and KEY/b */
    CHAOS_GUARDED, /* a transaction that puts under fw_kv_lock_compare */
    CHAOS_LEASED   /* a put under a lease */
} chaos_kind;

typedef struct chaos_record {
    uint64_t time_ns; /* monotonic, the same clock for all processes */
    uint8_t what, kind, event;
    bool succeeded;
    int32_t status;
    uint32_t batch;
    uint64_t op;
    int64_t revision, previous, token;
    char key[CHAOS_KEY_BYTES];
} chaos_record;

/* The number of a client's operation; seq begins with 1 and has no gaps. */
static inline uint64_t chaos_op_id(size_t client, uint32_t seq)
{
    return ((uint64_t)client + 1) << 32 | seq;
}

typedef struct chaos_client_history {
    const chaos_record *records;
    size_t count;
    uint64_t killed_ns; /* 0: it lived to the end */
    bool paused;        /* it was stopped for a time */
} chaos_client_history;

typedef struct chaos_pair {
    char key[CHAOS_KEY_BYTES];
    uint64_t op;
    int64_t revision;
} chaos_pair;

typedef struct chaos_histories {
    const chaos_client_history *clients;
    size_t client_count;
    /* The store's state after all clients had come to rest. */
    const chaos_pair *final;
    size_t final_count;
    uint64_t final_ns;
    bool sees_every_change; /* FW_KV_CAN_SEE_EVERY_CHANGE */
    /* Between these times the store was emptied from outside; 0: never. */
    uint64_t wiped_from_ns, wiped_ns;
    uint32_t answer_ms; /* within which every operation is answered */
} chaos_histories;

/* Writes each breach to out as a line "rule: words"; returns how many there are. */
size_t chaos_check(const chaos_histories *histories, FILE *out);

#endif
