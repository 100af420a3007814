/*
 * lmdb: there is no server that could be killed, and no network. Whoever has the directory open is
 * the store: its processes are stopped and killed. It is emptied, and keys are deleted, through the
 * front; a lease is ended by another process (lmdb_revoke.c).
 */
#include "disc.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void revoke_leases(disc_stage *stage, const int64_t *leases, const uint32_t *instances,
                          size_t count)
{
    char url[300], program[400], ids[1000][24];
    const char *argv[1000 + 3] = {program};
    (void)instances;
    ck_assert_uint_le(count, sizeof ids / sizeof *ids);
    stage->chaos.driver->url(&stage->chaos, 0, url, sizeof url);
    const char *dir = strchr(url, ':') + 1;
    *strchr(url, '?') = 0;
    const char *slash = strrchr(stage->chaos.self, '/');
    snprintf(program, sizeof program, "%.*s/lmdb_revoke", (int)(slash - stage->chaos.self),
             stage->chaos.self);
    argv[1] = dir;
    for (size_t i = 0; i < count; i++) {
        snprintf(ids[i], sizeof ids[i], "%" PRId64, leases[i]);
        argv[2 + i] = ids[i];
    }
    disc_command(argv, NULL);
}

static const disc_scenario scenarios[] = {
    {"thousand", .run = disc_thousand_without_server, .crowd = 1000},
    {"keys_deleted", .run = disc_keys_deleted},
    {"lease_revoked", .run = disc_lease_revoked},
    {"instance_stopped", .run = disc_instance_stopped},
    {"mass_death", .run = disc_mass_death},
    {.name = NULL}};

const disc_driver disc_this_driver = {.name = "lmdb",
                                      .scenarios = scenarios,
                                      .delete_one = disc_delete_by_front,
                                      .delete_all = disc_wipe_by_front,
                                      .revoke = revoke_leases};
