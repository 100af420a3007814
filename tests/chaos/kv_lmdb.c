/*
 * lmdb: has no server; its clients are processes that share a directory, and it is they who are
 * killed and stopped, also while they hold LMDB's lock of writers.
 *
 * There is no scenario in which the directory is emptied under its users: files that are unlinked
 * live on for those who have them open, as Unix will have it.
 */
#include "chaos.h"

static char dir[300];

static void start(chaos_stage *chaos)
{
    (void)chaos;
    snprintf(dir, sizeof dir, "%s", fwt_tmpdir());
}

static void stop(chaos_stage *chaos)
{
    (void)chaos;
}

static void write_url(chaos_stage *chaos, int port, char *url, size_t size)
{
    (void)chaos;
    (void)port;
    snprintf(url, size, "lmdb:%s?sync=none", dir);
}

static void many_killed(chaos_stage *chaos)
{
    for (size_t i = 0; i < 12; i++) {
        chaos_client *client;
        do
            client = &chaos->clients[chaos_roll(chaos, chaos->count)];
        while (client->killed_ns);
        chaos_run_some(chaos, 0, 200);
        chaos_kill_client(chaos, client);
        chaos_add_client(chaos, true);
    }
    chaos_recover(chaos);
}

static const chaos_scenario scenarios[] = {
    {"calm", .run = chaos_calm},
    {"calm_processes", .run = chaos_calm, .processes = true},
    {"client_stopped", .run = chaos_client_stopped, .processes = true},
    {"client_killed", .run = chaos_client_killed, .processes = true},
    {"many_killed", .run = many_killed, .processes = true},
    {.name = NULL}};

const chaos_driver chaos_this_driver = {
    .name = "lmdb", .scenarios = scenarios, .start = start, .stop = stop, .url = write_url};
