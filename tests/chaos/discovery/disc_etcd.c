/* etcd: a server of its own, and a cluster of three. By hand is with etcdctl. */
#include "disc.h"

#include "etcd_faults.h"

#include <signal.h>
#include <stdlib.h>

/* Where the scenarios' URL puts the store. */
#define PREFIX "/chaos"

static void delete_one(disc_stage *stage, uint32_t instance)
{
    char key[80];
    snprintf(key, sizeof key, PREFIX "/services/" DISC_SERVICE "/i%u", instance);
    char *said = fwt_etcdctl(etcd_port(&stage->chaos), (const char *const[]){"del", key, NULL});
    ck_assert_str_eq(said, "1\n"); /* so many keys */
    free(said);
}

static void delete_all(disc_stage *stage)
{
    free(fwt_etcdctl(etcd_port(&stage->chaos),
                     (const char *const[]){"del", "--prefix", PREFIX "/", NULL}));
}

static void revoke_leases(disc_stage *stage, const int64_t *leases, const uint32_t *instances,
                          size_t count)
{
    (void)instances;
    for (size_t i = 0; i < count; i++)
        fwt_etcd_revoke(etcd_port(&stage->chaos), leases[i]);
}

static void leader_killed(disc_stage *stage)
{
    disc_fault_begins(stage, "leader killed");
    fwt_etcd *leader = etcd_kill_leader(&stage->chaos);
    disc_run_for(stage, 3 * stage->ttl_ms);
    fwt_etcd_restart(leader);
    disc_fault_ended(stage);
}

static const disc_scenario scenarios[] = {
    {"three_killed", .run = disc_store_killed, .start = etcd_start_cluster},
    {"three_leader_killed", .run = leader_killed, .start = etcd_start_cluster},
    {"three_wiped", .run = disc_store_wiped, .start = etcd_start_cluster},
    {"three_keys_deleted", .run = disc_keys_deleted, .start = etcd_start_cluster},
    {"three_lease_revoked", .run = disc_lease_revoked, .start = etcd_start_cluster},
    {"three_mass_death", .run = disc_mass_death, .start = etcd_start_cluster},
    {.name = NULL}};

const disc_driver disc_this_driver = {.name = "etcd",
                                      .has_server = true,
                                      .scenarios = scenarios,
                                      .delete_one = delete_one,
                                      .delete_all = delete_all,
                                      .revoke = revoke_leases};
