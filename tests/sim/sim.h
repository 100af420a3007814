/*
 * A simulated world: a virtual clock, processes that each have a loop of their own, and a store
 * that they reach over a network that delays, loses and cuts. Everything that is left to chance
 * comes from one seed, so a run can be repeated bit by bit.
 *
 * The store is a driver, scheme "sim:", that works like the real ones: requests and answers take
 * time, an answer may be lost after the work was done, leases expire by the store's clock and are
 * lost by the client's, watches go on where they were or list again when the history is gone.
 */
#ifndef SIM_H
#define SIM_H

#include "driver.h"
#include "history.h"

typedef struct sim_world sim_world;
typedef struct sim_process sim_process;

typedef struct sim_event sim_event;
typedef void (*sim_fn)(void *arg);

struct sim_world {
    uint64_t now_ms;
    uint64_t random;
    uint64_t digest; /* of everything that happened, to compare two runs */
    history history; /* of what the store has below "services" */

    sim_event **events; /* a heap by time, then by number */
    size_t event_count, event_capacity;
    uint64_t next_event;

    fwi_list processes, ended; /* sim_process.node */
    unsigned next_process;
    void (*on_turn)(const sim_process *process); /* before a turn of its loop; may be NULL */

    /* The store. */
    bool is_down;
    uint32_t log_keep; /* changes that a watch may be behind */
    int64_t revision, last_lease;
    uint32_t incarnation; /* grows when the store is wiped */
    fwi_list pairs;       /* sim_change.node, sorted by key */
    fwi_list log;         /* sim_change.node */
    size_t log_count;
    fwi_list leases;
    fwi_list subscriptions; /* sim_subscription.node */
};

struct sim_process {
    fwi_list node;
    sim_world *world;
    unsigned number; /* in the order in which they began */
    fw_loop *loop;
    bool is_paused;      /* its loop does not run */
    bool is_cut;         /* nothing passes between it and the store */
    bool is_dead;        /* killed: nothing of it runs any more, it is only freed */
    uint32_t lost_share; /* of its answers, in thousandths */
    void *user;
};

sim_world *sim_world_new(uint64_t seed);
/* Ends the processes that are left (their stores must be closed) and frees the world. */
void sim_world_free(sim_world *world);
/* Uniform in [0, bound). */
uint32_t sim_random(sim_world *world, uint32_t bound);
/* Runs fn at a time from now. */
void sim_after(sim_world *world, uint64_t delay_ms, sim_fn fn, void *arg);
/* Lets the world go on until this time. */
void sim_run_until(sim_world *world, uint64_t until_ms);
/* Mixes something that happened into the digest. */
void sim_note(sim_world *world, uint64_t what);

sim_process *sim_process_new(sim_world *world);
/* The URL by which the process opens the store (static, until the next call). */
const char *sim_url(const sim_process *process);
/* A turn of its loop now, so that it knows what time it is: before anybody makes it do something.
 */
void sim_process_wake(sim_process *process);
/* When it goes on, its loop sees at once how late it is. */
void sim_process_pause(sim_process *process, bool is_paused);
/* As kill -9: the store hears nothing of it. What it had is freed by closing it while nothing can
 * leave the process. */
void sim_process_kill(sim_process *process);
/* Frees a process whose objects were closed. */
void sim_process_free(sim_process *process);

/* ---- what somebody else does to the store, or the machine below it ---- */

/* Down: nobody reaches it. When it is up again, its leases have their whole time. */
void sim_store_set_down(sim_world *world, bool is_down);
void sim_store_wipe(sim_world *world);
void sim_store_delete(sim_world *world, const char *key);
void sim_store_put(sim_world *world, const char *key, const char *value);
void sim_store_revoke_any(sim_world *world);
/* Forgets the history, so that watches that are behind must list. */
void sim_store_compact(sim_world *world);
/* A pair, lent, and when it was written. False: there is none. */
bool sim_store_find(sim_world *world, const char *key, fw_kv_pair *ret_pair, uint64_t *ret_at_ms);
/* Calls for each key with its value. */
void sim_store_each(sim_world *world, void (*fn)(const char *key, fw_slice value, void *arg),
                    void *arg);

#endif
