/* etcd, over gRPC; with ETCD_HTTP, over its JSON gateway. */
#include "chaos.h"

#include "etcd_faults.h"

#ifdef ETCD_HTTP
#define NAME   "etcd_http"
#define SCHEME "etcd+http"
#else
#define NAME   "etcd"
#define SCHEME "etcd"
#endif

static void write_url(chaos_stage *chaos, int port, char *url, size_t size)
{
    (void)chaos;
    etcd_url(SCHEME, port, url, size);
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
    {"compacted", .run = etcd_compacted},
    {"no_space", .run = etcd_no_space},
    /* Checking a password takes the server a tenth of a second, on a busy machine seconds. */
    {"token_expired", .run = etcd_token_expired, .start = etcd_start_with_users,
     .timeout_ms = 5000},
    {"leader_killed", .run = etcd_leader_killed, .start = etcd_start_cluster},
    {"leader_hung", .run = etcd_leader_hung, .start = etcd_start_cluster},
    {"minority", .run = etcd_minority, .start = etcd_start_cluster},
    {.name = NULL}};

const chaos_driver chaos_this_driver = {.name = NAME,
                                        .scenarios = scenarios,
                                        .start = etcd_start,
                                        .stop = etcd_stop,
                                        .url = write_url,
                                        .port = etcd_port,
                                        .kill = etcd_kill,
                                        .restart = etcd_restart,
                                        .signal = etcd_signal,
                                        .wipe = etcd_wipe};
