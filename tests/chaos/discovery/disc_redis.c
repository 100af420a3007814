/*
 * redis. What a store is made of there is for its own script only, so a single key is deleted
 * through the front; with redis-cli everything goes, and leases end.
 */
#include "disc.h"

#include <inttypes.h>

static void cli(disc_stage *stage, const char *const *command)
{
    char port[16];
    const char *argv[16] = {"redis-cli", "-e", "-p", port};
    snprintf(port, sizeof port, "%d", stage->chaos.driver->port(&stage->chaos));
    for (size_t i = 4; i < 15 && *command; i++)
        argv[i] = *command++;
    disc_command(argv, NULL);
}

static void delete_all(disc_stage *stage)
{
    cli(stage, (const char *const[]){"FLUSHALL", NULL});
}

/* Their time is over, by the list of the leases. */
static void revoke_leases(disc_stage *stage, const int64_t *leases, const uint32_t *instances,
                          size_t count)
{
    (void)instances;
    for (size_t i = 0; i < count; i++) {
        char id[24];
        snprintf(id, sizeof id, "%" PRId64, leases[i]);
        cli(stage, (const char *const[]){"ZADD", "{fairway/chaos}:leases", "XX", "1", id, NULL});
    }
}

const disc_driver disc_this_driver = {.name = "redis",
                                      .has_server = true,
                                      .delete_one = disc_delete_by_front,
                                      .delete_all = delete_all,
                                      .revoke = revoke_leases};
