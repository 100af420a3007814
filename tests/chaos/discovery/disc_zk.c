/*
 * ZooKeeper. A lease is a session, and no session can be ended by others: what can be done by hand,
 * with zkCli.sh, is to delete the ephemeral znodes, which are the pairs.
 */
#include "disc.h"

#include <stdlib.h>
#include <string.h>

/* Where the scenarios' URL puts the store; a pair under a lease is a znode whose name ends so. */
#define PREFIX    "/chaos"
#define EPHEMERAL "%%" /* in a format */
#define MAX_LINE  80

static void cli(disc_stage *stage, const char *commands)
{
    char server[40];
    snprintf(server, sizeof server, "127.0.0.1:%d", stage->chaos.driver->port(&stage->chaos));
    disc_command(
        (const char *const[]){"/usr/share/zookeeper/bin/zkCli.sh", "-server", server, NULL},
        commands);
}

static void delete_some(disc_stage *stage, const uint32_t *instances, size_t count)
{
    char *commands = calloc(count + 1, MAX_LINE);
    size_t len = 0;
    for (size_t i = 0; i < count; i++)
        len += (size_t)snprintf(commands + len, MAX_LINE,
                                "delete " PREFIX "/services/" DISC_SERVICE "/i%u" EPHEMERAL "\n",
                                instances[i]);
    cli(stage, commands);
    free(commands);
}

static void delete_one(disc_stage *stage, uint32_t instance)
{
    delete_some(stage, &instance, 1);
}

static void delete_all(disc_stage *stage)
{
    cli(stage, "deleteall " PREFIX "\n");
}

static void revoke_leases(disc_stage *stage, const int64_t *leases, const uint32_t *instances,
                          size_t count)
{
    (void)leases;
    delete_some(stage, instances, count);
}

const disc_driver disc_this_driver = {.name = "zk",
                                      .has_server = true,
                                      .delete_one = delete_one,
                                      .delete_all = delete_all,
                                      .revoke = revoke_leases};
