/*
 * What instances of a service and those who watch them saw, as records in the order of their
 * happening; and the rules that every history has to keep, whatever was done to the store.
 *
 * Instances have numbers, no two the same one; the id of instance 7 is "i7".
 */
#ifndef DISC_HISTORY_H
#define DISC_HISTORY_H

#include <fairway/discovery.h>
#include <stdio.h>

typedef enum disc_what {
    DISC_STATUS = 1, /* of the registrar of an instance: type is a fw_registrar_state */
    DISC_EVENT,      /* of a watcher: type is a fw_watcher_event_type */
    DISC_SAMPLE      /* of a watcher, when it has changed without an event: count and held */
} disc_what;

#define DISC_NO_INSTANCE UINT32_MAX /* the event has none, or one that is not ours */

typedef struct disc_record {
    uint64_t time_ns; /* monotonic, the same clock for all processes */
    uint8_t what, type;
    uint32_t instance;
    uint32_t count, held; /* of the watcher's list after the event; held: kept though the store has
                             lost them */
} disc_record;

typedef struct disc_log {
    const disc_record *records;
    size_t count;
} disc_log;

typedef struct disc_instance {
    size_t log;         /* of its process, by place in `registrars` */
    uint64_t killed_ns; /* 0: it lived to the end */
} disc_instance;

typedef struct disc_fault {
    const char *name;
    uint64_t from_ns, until_ns; /* when it began; when the store, or who was stopped, was back */
    uint64_t settled_ns; /* when the last change was on the way back to all being well; 0: not known
                          */
} disc_fault;

/* A process of the scenario. */
typedef struct disc_process {
    char name[24];
    bool killed; /* by the scenario */
    int code;    /* its exit code, or 128 + signal */
} disc_process;

typedef struct disc_histories {
    const disc_log *registrars; /* of processes, each with one instance or many */
    size_t registrar_count;
    const disc_log *watchers;
    size_t watcher_count;
    const disc_instance *instances;
    size_t instance_count;
    const disc_fault *faults; /* one after the other */
    size_t fault_count;
    const disc_process *processes;
    size_t process_count;
    /* Which instances the store had in the end, in the order of their numbers. */
    const uint32_t *final;
    size_t final_count;
    uint64_t end_ns;
    uint32_t relist_ms, unlist_ms; /* the bounds */
} disc_histories;

/* What a watcher knows, and since when. */
typedef enum disc_listing { DISC_ABSENT, DISC_LISTED, DISC_HELD } disc_listing;
typedef struct disc_view {
    const disc_histories *in;
    uint8_t *listing;        /* of each instance: disc_listing */
    uint64_t *since_ns;      /* its last change */
    uint32_t count, held;    /* as the watcher has counted */
    uint64_t held_since_ns;  /* held: since it was 0 last, or has become so */
    bool stale;              /* out of contact, or not complete yet */
    uint64_t stale_since_ns; /* its last change */
    size_t next;             /* record of the log */
} disc_view;
void disc_view_init(disc_view *view, const disc_histories *in);
void disc_view_fini(disc_view *view);
/* Takes a record in. Says what is wrong with it: NULL, or a text. */
const char *disc_view_take(disc_view *view, const disc_record *record);
/* True if every instance that lives at that time is listed, and the store has it, as far as the
 * watcher knows. Else *ret_missing is one that is not, or DISC_NO_INSTANCE if it is the contact. */
bool disc_view_is_whole(const disc_view *view, uint64_t time_ns, uint32_t *ret_missing);

/* How long after a fault everything was listed, to stay so until the next (or the end): the last
 * change that any watcher or registrar saw on its way there. */
uint64_t disc_recovery_ns(const disc_histories *histories, size_t fault);
/* How long after its death the last of the killed was out of every list. */
uint64_t disc_unlisting_ns(const disc_histories *histories);

/*
 * Writes each breach to out as a line "rule: words"; returns how many there are. The rules:
 *   relisted      relist_ms after a fault (or as soon as it is settled) every live instance is in
 *                 every list, the store has it, and every watcher is in contact with the store
 *   registered    and its registrar says so
 *   stays_listed  from then on until the next fault nothing of that changes
 *   unlisted      who was killed is in no list unlist_ms after it (or after the end of a fault that
 *                 lasted then), and does not come back
 *   never_empty   no list that had instances is empty while one that was in it lives
 *   true_events   events and counts of a list agree
 *   final         in the end the store has the live instances, and no other, and so have the lists
 *   no_exit       no process ended but those that were killed, and those end well
 */
size_t disc_check(const disc_histories *histories, FILE *out);

#endif
