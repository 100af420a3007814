/* The faults, most of which every store can have. */
#include "disc.h"

#include <signal.h>
#include <stdlib.h>

/* A store that is emptied counts its revisions anew, and is recognised by one that went back: it
 * must have come farther before than it comes at once after. */
#define REVISIONS 1500

static void kill_store(disc_stage *stage)
{
    const chaos_driver *driver = stage->chaos.driver;
    disc_fault_begins(stage, "store killed");
    driver->kill(&stage->chaos);
    disc_run_for(stage, 3 * stage->ttl_ms);
    driver->restart(&stage->chaos);
    disc_fault_ended(stage);
}

static void wipe_store(disc_stage *stage)
{
    const chaos_driver *driver = stage->chaos.driver;
    chaos_put_ends(&stage->chaos, REVISIONS);
    disc_fault_begins(stage, "store wiped");
    driver->kill(&stage->chaos);
    driver->wipe(&stage->chaos);
    disc_run_for(stage, 300);
    driver->restart(&stage->chaos);
    disc_fault_ended(stage);
}

static void delete_one(disc_stage *stage)
{
    disc_fault_begins(stage, "key deleted");
    disc_this_driver.delete_one(stage,
                                (uint32_t)chaos_roll(&stage->chaos, stage->all.instance_count));
    disc_fault_ended(stage);
}

static void delete_all(disc_stage *stage)
{
    disc_fault_begins(stage, "all keys deleted");
    disc_this_driver.delete_all(stage);
    disc_fault_ended(stage);
}

static void revoke_leases(disc_stage *stage, uint32_t first, size_t count, const char *name)
{
    int64_t *leases = calloc(stage->all.instance_count, sizeof *leases);
    uint32_t *instances = calloc(stage->all.instance_count, sizeof *instances);
    disc_leases(stage, leases);
    for (size_t i = 0; i < count; i++)
        instances[i] = first + (uint32_t)i;
    disc_fault_begins(stage, name);
    disc_this_driver.revoke(stage, leases + first, instances, count);
    disc_fault_ended(stage);
    free(leases);
    free(instances);
}

static void stop(disc_stage *stage, size_t count, const char *name)
{
    size_t stopped = 0;
    disc_fault_begins(stage, name);
    for (size_t i = 0; i < stage->child_count && stopped < count; i++)
        if (!stage->children[i].watches && ++stopped)
            disc_signal(stage, i, SIGSTOP);
    disc_run_for(stage, 2 * stage->ttl_ms);
    stopped = 0;
    for (size_t i = 0; i < stage->child_count && stopped < count; i++)
        if (!stage->children[i].watches && ++stopped)
            disc_signal(stage, i, SIGCONT);
    disc_fault_ended(stage);
}

static void network_frozen(disc_stage *stage)
{
    disc_fault_begins(stage, "network frozen");
    fwt_proxy_freeze(stage->chaos.proxy, FWT_PROXY_BOTH);
    disc_run_for(stage, 2 * stage->ttl_ms);
    fwt_proxy_pass(stage->chaos.proxy);
    disc_fault_ended(stage);
}

void disc_store_killed(disc_stage *stage)
{
    kill_store(stage);
}

void disc_store_wiped(disc_stage *stage)
{
    wipe_store(stage);
}

void disc_keys_deleted(disc_stage *stage)
{
    delete_one(stage);
    delete_all(stage);
}

void disc_lease_revoked(disc_stage *stage)
{
    uint32_t one = (uint32_t)chaos_roll(&stage->chaos, stage->all.instance_count);
    revoke_leases(stage, one, 1, "lease revoked");
    revoke_leases(stage, 0, stage->all.instance_count, "all leases revoked");
}

void disc_instance_stopped(disc_stage *stage)
{
    stop(stage, 1, "instance stopped");
    stop(stage, stage->all.instance_count, "all instances stopped");
}

static void network_cut(disc_stage *stage)
{
    disc_fault_begins(stage, "network cut");
    disc_net_plug(&stage->net, false);
    disc_run_for(stage, 3 * stage->ttl_ms);
    disc_net_plug(&stage->net, true);
    disc_fault_ended(stage);
}

void disc_mass_death(disc_stage *stage)
{
    disc_kill_all(stage);
}

void disc_thousand_without_server(disc_stage *stage)
{
    delete_all(stage);
    revoke_leases(stage, 100, 20, "20 leases revoked");
    stop(stage, 1, "process stopped");
    disc_kill_all(stage);
}

static void thousand(disc_stage *stage)
{
    kill_store(stage);
    wipe_store(stage);
    network_frozen(stage);
    disc_thousand_without_server(stage);
}

const disc_scenario disc_server_scenarios[] = {
    {"thousand", .run = thousand, .crowd = 1000},
    {"store_killed", .run = disc_store_killed},
    {"store_wiped", .run = disc_store_wiped},
    {"keys_deleted", .run = disc_keys_deleted},
    {"lease_revoked", .run = disc_lease_revoked},
    {"instance_stopped", .run = disc_instance_stopped},
    {"network_cut", .run = network_cut, .in_network = true},
    {"network_frozen", .run = network_frozen},
    {"mass_death", .run = disc_mass_death},
    {.name = NULL}};
