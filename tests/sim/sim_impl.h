/* Between world.c, store.c and client.c. */
#ifndef SIM_IMPL_H
#define SIM_IMPL_H

#include "sim.h"

void *sim_alloc(size_t size);

/* ---- store.c ---- */

typedef enum sim_kind { SIM_OP, SIM_GRANT, SIM_RENEW, SIM_REVOKE } sim_kind;

/* A request to the store, and in the end its answer. */
typedef struct sim_request {
    sim_kind kind;
    fwi_kv_op_type type;
    char *key;
    fw_slice value;
    int64_t previous, lease;
    uint32_t ttl_ms;
    int status;
    int64_t revision;
    size_t count;
    fwi_kv_pairs pairs;
} sim_request;

void sim_store_init(sim_world *world);
void sim_store_fini(sim_world *world);
void sim_store_execute(sim_world *world, sim_request *request);

/* A pair, or a change of one. */
typedef struct sim_change {
    fwi_list node;
    char *key;
    fw_slice value;
    int64_t revision, lease;
    uint64_t at_ms;
    bool is_delete;
} sim_change;

/* A watch as the store has it, while the connection is whole. */
typedef struct sim_subscription {
    fwi_list node;
    int64_t revision; /* told so far */
    void (*on_change)(struct sim_subscription *subscription);
    void (*on_break)(struct sim_subscription *subscription); /* takes itself out */
} sim_subscription;

/* Gathers into changes (sim_change.node) what is new for a key or tree after a revision. Returns
 * whether it is a list of everything instead. */
bool sim_store_read(sim_world *world, const fw_kv_watch *watch, int64_t after, uint32_t incarnation,
                    fwi_list *changes);
void sim_change_free(sim_change *change);

/* client.c: the driver. */
extern const fwi_kv_driver sim_driver;

#endif
