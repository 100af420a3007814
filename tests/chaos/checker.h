/* Between the parts of the checker. */
#ifndef CHAOS_CHECKER_H
#define CHAOS_CHECKER_H

#include "history.h"

#include <stdlib.h>
#include <string.h>

/* What a client may conclude from an answer. */
enum outcome { NOT_DONE, DONE, UNKNOWN };

/* The life of the store between wipes. */
enum epoch { BEFORE_WIPE, AFTER_WIPE, ACROSS_WIPE };

struct op {
    uint64_t id;
    size_t client;
    enum chaos_kind kind;
    char keys[2][CHAOS_KEY_BYTES];
    size_t key_count;
    int64_t previous, token;
    uint64_t invoked_ns, returned_ns; /* returned: 0: never */
    int status;
    enum outcome outcome;
    enum epoch epoch;
    int64_t answered; /* revision of the answer */
    int64_t revision; /* at which it happened, as answered or as seen; 0: not known to have */
};

struct check {
    const chaos_histories *in;
    FILE *out;
    size_t breaches;
    struct op *ops; /* of all clients, one after the other */
    size_t op_count;
    size_t *first; /* client -> index of its first op; one more at the end */
};

void check_breach(struct check *check, const char *rule, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* NULL: there is none. */
struct op *check_find(const struct check *check, uint64_t id);
bool check_writes(const struct op *op);
bool check_has_key(const struct op *op, const char *key);
/* Of something that lasted from one time to the other (0: has not ended), or of a moment. */
enum epoch check_epoch(const struct check *check, uint64_t from_ns, uint64_t to_ns);
static inline bool check_is_data(const char *key)
{
    return strncmp(key, CHAOS_LOCK_KEY, strlen(CHAOS_LOCK_KEY)) && strcmp(key, CHAOS_END_KEY);
}

/* check_watch.c: finds out, too, at which revision writes without an answer happened. */
void check_watches(struct check *check);
/* check_hold.c */
void check_locks(struct check *check);
void check_leases(struct check *check);

#endif
