/* Between bed.c (who lives in the bed, and what befalls them), bed_drains.c (drains, and what must
 * hold of them) and bed_rules.c (what else must hold). */
#ifndef BED_IMPL_H
#define BED_IMPL_H

#include "bed.h"
#include "sim.h"

#include <fairway/discovery.h>

#define PROVIDERS   4
#define CONSUMERS   2
#define TTL_MS      3000
#define TIMEOUT_MS  1000
#define SETTLE_MS   7000
#define MAX_DEAD    64
#define SERVICE     "echo"
#define PROVIDER_AT "127.0.0.1:1"
/* What a fault writes over a node, whatever its state. */
#define FOREIGN       "{\"net\":\"\",\"addr\":\"\",\"bn\":\"\"}"
#define FOREIGN_BEGIN "{\"net\":\"\",\"addr\":\"\","

struct provider {
    sim_process *process;
    fw_kv *kv;
    fw_registrar *registrar;
    char id[16];
    uint64_t troubled_ms; /* until when something was in its way */
    bool is_faulty;       /* a fault of its own goes on */
    bool has_left;        /* it was drained, and took itself out for a time */
    uint64_t returned_ms; /* from that; 0: never */
};

struct consumer {
    sim_process *process;
    char name[24];        /* its key, below the consumers */
    bool knew[PROVIDERS]; /* the provider that runs there now, online */
    fw_kv *kv;
    fw_watcher *watcher;
    uint64_t troubled_ms;
    bool is_faulty;
    bool is_fatal;
    fw_kv_watch *watch; /* the store's own events */
    listener heard;
    const fw_snapshot *snapshot; /* that was looked at last */
    uint32_t incarnation;        /* of the store that it shows */
};

struct bed {
    sim_world *world;
    struct provider providers[PROVIDERS];
    struct consumer consumers[CONSUMERS];
    struct {
        char id[16];
        uint64_t died_ms;
    } dead[MAX_DEAD];
    size_t dead_count;
    uint64_t store_troubled_ms;
    bool is_store_faulty, is_over;
    unsigned next_id, next_name;
    char failure[BED_FAILURE_BYTES];
};
extern struct bed bed;

/* Notes the first rule that was broken. */
void bed_violated(const char *what, const char *whose);
bool bed_is_settled(uint64_t troubled_ms, bool is_faulty);
/* Closes everything of a process, and frees it. */
void bed_process_end(sim_process *process, fw_registrar *registrar, fw_watcher *watcher, fw_kv *kv);

/* ---- bed_rules.c ---- */

void bed_check(void);
/* The consumer's application is told that it is gone: it was offline, or one of several. */
void bed_forget_removed(struct consumer *consumer, const fw_instance *instance);

/* ---- bed_drains.c ---- */

void bed_drains_start(void);
/* A drain begins, or one is taken back. */
void bed_drains_act(void);
/* The registrar of a provider has been asked to drain its instance, or no longer. */
void bed_drains_asked(struct provider *provider, bool is_draining);
/* An instance that took itself out is registered again. */
void bed_provider_returns(struct provider *provider);
/* Another process is about to take its place. */
void bed_drains_provider_gone(const struct provider *provider);
void bed_drains_consumer_gone(struct consumer *consumer);
/* The store was wiped: no request stands any more. */
void bed_drains_wiped(void);
/* The consumer's application is told. */
void bed_drains_hear(struct consumer *consumer, const fw_watcher_event *event);
/* Nothing has been in anybody's way for SETTLE_MS: what was asked for is done. */
void bed_drains_check_quiet(void);
void bed_drains_end(void);

#endif
