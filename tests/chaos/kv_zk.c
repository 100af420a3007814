/* ZooKeeper. A server is a Java machine: only few scenarios run at a time. */
#include "chaos.h"

static fwt_zookeeper zookeeper;

static void start(chaos_stage *chaos)
{
    (void)chaos;
    fwt_zookeeper_start(&zookeeper);
}

static void stop(chaos_stage *chaos)
{
    (void)chaos;
    fwt_zookeeper_kill(&zookeeper);
}

static void write_url(chaos_stage *chaos, int port, char *url, size_t size)
{
    (void)chaos;
    snprintf(url, size, "zk://127.0.0.1:%d/chaos", port);
}

static int port(chaos_stage *chaos)
{
    (void)chaos;
    return zookeeper.port;
}

static void restart(chaos_stage *chaos)
{
    (void)chaos;
    fwt_zookeeper_restart(&zookeeper);
}

static void send_signal(chaos_stage *chaos, int sig)
{
    (void)chaos;
    fwt_proc_signal(zookeeper.proc, sig);
}

static void wipe(chaos_stage *chaos)
{
    (void)chaos;
    snprintf(zookeeper.data_dir, sizeof zookeeper.data_dir, "%s", fwt_tmpdir());
}

static const chaos_scenario scenarios[] = {
    {"calm", .run = chaos_calm},
    {"server_killed", .run = chaos_server_killed},
    {"server_stopped", .run = chaos_server_stopped},
    {"connection_cut", .run = chaos_connection_cut},
    {"connection_frozen", .run = chaos_connection_frozen},
    {"connection_slow", .run = chaos_connection_slow},
    {"reply_lost", .run = chaos_reply_lost},
    {"client_stopped", .run = chaos_client_stopped, .processes = true},
    {"client_killed", .run = chaos_client_killed, .processes = true},
    {"store_wiped", .run = chaos_store_wiped},
    {.name = NULL}};

const chaos_driver chaos_this_driver = {.name = "zk",
                                        .scenarios = scenarios,
                                        .jobs = 3,
                                        .start = start,
                                        .stop = stop,
                                        .url = write_url,
                                        .port = port,
                                        .kill = stop,
                                        .restart = restart,
                                        .signal = send_signal,
                                        .wipe = wipe};
