/*
 * The director of scenarios. A scenario is one process: it starts a server, a fault proxy before it
 * and clients that reach it through the proxy, does its faults while they work, lets them come to
 * rest, and has the checker look at what all of them did and saw. The last client and the director
 * reach the server past the proxy, so the store goes on changing while the others are cut off.
 */
#ifndef CHAOS_CHAOS_H
#define CHAOS_CHAOS_H

#include "fwt.h"

#include "client.h"

#define CHAOS_MAX_CLIENTS 24
#define CHAOS_WAIT_MS     30000

typedef struct chaos_stage chaos_stage;

typedef struct chaos_scenario {
    const char *name;
    void (*run)(chaos_stage *chaos); /* the faults; clients are at work before and after */
    size_t clients;                  /* 0: 3 */
    bool processes;                  /* the clients are processes */
    uint32_t timeout_ms;             /* of an operation of threads; 0: CHAOS_TIMEOUT_MS */
    /* Starts the server; NULL: as the driver does. */
    void (*start)(chaos_stage *chaos);
} chaos_scenario;

/* What a driver's file provides. Where there is no server, port is NULL, and so are the functions
 * after it. */
typedef struct chaos_driver {
    const char *name;
    const chaos_scenario *scenarios; /* ends with one without a name */
    size_t jobs;                     /* how many of them at a time; 0: 6 */
    void (*start)(chaos_stage *chaos);
    void (*stop)(chaos_stage *chaos);
    /* port: of the server, or of the proxy before it. */
    void (*url)(chaos_stage *chaos, int port, char *url, size_t size);
    int (*port)(chaos_stage *chaos);
    void (*kill)(chaos_stage *chaos); /* SIGKILL */
    void (*restart)(chaos_stage *chaos);
    void (*signal)(chaos_stage *chaos, int sig);
    void (*wipe)(chaos_stage *chaos); /* of a server that was killed */
} chaos_driver;

/* Of kv_NAME.c. */
extern const chaos_driver chaos_this_driver;

typedef struct chaos_client {
    chaos_client_options options;
    char url[300], path[300];
    chaos_sheet *sheet;
    fwt_proc *proc; /* NULL: a thread */
    unsigned long thread;
    bool by_proxy, paused;
    uint64_t killed_ns;
    int result;
} chaos_client;

struct chaos_stage {
    const chaos_driver *driver;
    const chaos_scenario *scenario;
    const char *self; /* this program */
    uint64_t seed, random, start_ns;
    void *server; /* the driver's */
    fwt_proxy *proxy;
    fw_kv *kv; /* the director's own, past the proxy */
    const char *user, *password;
    chaos_client clients[CHAOS_MAX_CLIENTS];
    size_t count;
    int ends;                         /* the director's last words so far */
    uint64_t wiped_from_ns, wiped_ns; /* see chaos_histories */
};

/* ---- for scenarios ---- */

uint64_t chaos_roll(chaos_stage *chaos, uint64_t below);
/* Lets everybody work. */
void chaos_run_for(chaos_stage *chaos, unsigned ms);
/* Lets everybody work for a time between the two. */
void chaos_run_some(chaos_stage *chaos, unsigned least_ms, unsigned most_ms);
/* Waits until every client that lives gets writes done again. */
void chaos_recover(chaos_stage *chaos);
chaos_client *chaos_add_client(chaos_stage *chaos, bool by_proxy);
void chaos_kill_client(chaos_stage *chaos, chaos_client *client);
/* Stops a client (a process) for this time. */
void chaos_pause_client(chaos_stage *chaos, chaos_client *client, unsigned ms);
/* Waits until the flag of a sheet is set; false if it was not within the time. */
bool chaos_await(chaos_stage *chaos, const atomic_bool *flag, unsigned ms);
/* Waits until every client behind the proxy has had a RESYNC. */
void chaos_await_resyncs(chaos_stage *chaos);
/* One operation of the director, repeated until it is done; returns its revision. */
int64_t chaos_put_end(chaos_stage *chaos, int word);
/* Raises the revision by so much: what is emptied begins to count anew, and is recognised by a
 * revision that went back, so it must have come far enough that it is not overtaken. */
void chaos_put_ends(chaos_stage *chaos, int count);

/* Faults that every server can have. */
void chaos_calm(chaos_stage *chaos);
void chaos_server_killed(chaos_stage *chaos);
void chaos_server_stopped(chaos_stage *chaos);
void chaos_connection_cut(chaos_stage *chaos);
void chaos_connection_frozen(chaos_stage *chaos);
void chaos_reply_lost(chaos_stage *chaos);
void chaos_connection_slow(chaos_stage *chaos);
void chaos_client_stopped(chaos_stage *chaos);
void chaos_client_killed(chaos_stage *chaos);
void chaos_store_wiped(chaos_stage *chaos);

/* ---- for the programs ---- */

/* The director's own store, past the proxy. */
void chaos_open_kv(chaos_stage *chaos);
void chaos_close_kv(chaos_stage *chaos);

/* Runs a scenario in this process: what `check` sees as one test. */
void chaos_direct(chaos_stage *chaos);

#endif
