/*
 * The director of scenarios of discovery. A scenario is one process: it starts a server, a fault
 * proxy before it, instances (processes that register themselves and have a port that answers), and
 * processes with watchers; it does its faults, waits after each until everything is listed again,
 * and has the checker look at what all of them wrote down. The servers are those of the scenarios
 * of the store (../kv_NAME.c).
 */
#ifndef DISC_DISC_H
#define DISC_DISC_H

#include "chaos.h"
#include "disc_net.h"
#include "disc_role.h"

#define DISC_MAX_PROCESSES 8
#define DISC_MAX_FAULTS    8
#define DISC_WATCHERS      2 /* processes, with two watchers each */

typedef struct disc_stage disc_stage;

typedef struct disc_scenario {
    const char *name;
    void (*run)(disc_stage *stage);
    uint32_t crowd;  /* so many instances in one process; 0: 4 processes with one each */
    bool in_network; /* instances and watchers live in a network namespace of their own */
    /* Starts the server; NULL: as the driver does. */
    void (*start)(chaos_stage *chaos);
} disc_scenario;

/* What a store's file provides. */
typedef struct disc_driver {
    const char *name;
    bool has_server; /* it goes through disc_server_scenarios, first */
    /* Its own, which end with one without a name; may be NULL. */
    const disc_scenario *scenarios;
    /* With the store's own client: deletes the key of an instance, and all that is in the store. */
    void (*delete_one)(disc_stage *stage, uint32_t instance);
    void (*delete_all)(disc_stage *stage);
    /* Ends leases, as that store may: each is the lease of an instance's key. */
    void (*revoke)(disc_stage *stage, const int64_t *leases, const uint32_t *instances,
                   size_t count);
} disc_driver;

/* Of disc_NAME.c. */
extern const disc_driver disc_this_driver;

typedef struct disc_child {
    fwt_proc *proc;
    disc_sheet *sheets[2];
    size_t sheet_count;
    bool watches;
} disc_child;

struct disc_stage {
    chaos_stage chaos;
    const disc_scenario *scenario;
    uint32_t ttl_ms;
    disc_net net;
    disc_child children[DISC_MAX_PROCESSES];
    disc_process processes[DISC_MAX_PROCESSES];
    size_t child_count;
    disc_log registrars[DISC_MAX_PROCESSES], watchers[2 * DISC_WATCHERS];
    disc_sheet *registrar_sheets[DISC_MAX_PROCESSES], *watcher_sheets[2 * DISC_WATCHERS];
    disc_view views[2 * DISC_WATCHERS];
    disc_instance *instances;
    uint8_t *registered; /* of each instance, as its registrar said last */
    size_t registrars_read[DISC_MAX_PROCESSES];
    disc_fault faults[DISC_MAX_FAULTS];
    disc_histories all;
};

/* ---- for scenarios ---- */

/* Lets everybody work. */
void disc_run_for(disc_stage *stage, unsigned ms);
/* A fault begins; it has ended, so the store (or who was stopped) is back: waits until everything
 * is listed again, prints how long that took, and looks for a time whether it stays so. */
void disc_fault_begins(disc_stage *stage, const char *name);
void disc_fault_ended(disc_stage *stage);
/* Sends SIGSTOP or SIGCONT to a process of instances. */
void disc_signal(disc_stage *stage, size_t child, int sig);
/* SIGKILL to all processes of instances; waits until no list has one of them. */
void disc_kill_all(disc_stage *stage);
/* The leases of the keys of instances, in their order; waits until each has one. */
void disc_leases(disc_stage *stage, int64_t *ret_leases);
/* Runs a program, with this input (may be NULL): it must end with 0. */
void disc_command(const char *const *argv, const char *input);
/* For stores whose own client cannot do it: the director's front deletes. */
void disc_delete_by_front(disc_stage *stage, uint32_t instance);
void disc_wipe_by_front(disc_stage *stage);

/* Faults that every store can have. */
void disc_store_killed(disc_stage *stage);
void disc_store_wiped(disc_stage *stage);
void disc_keys_deleted(disc_stage *stage);
void disc_lease_revoked(disc_stage *stage);
void disc_instance_stopped(disc_stage *stage);
void disc_mass_death(disc_stage *stage);
/* Several of these, one after the other. */
void disc_thousand_without_server(disc_stage *stage);

/* What every store that has a server goes through; ends with one without a name. */
extern const disc_scenario disc_server_scenarios[];

/* ---- for disc_main.c ---- */

void disc_direct(disc_stage *stage);

#endif
