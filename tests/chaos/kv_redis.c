/*
 * redis. The store is wiped in two ways: the server comes back without its file, and FLUSHALL,
 * which takes it from under everybody at work.
 */
#include "chaos.h"

#include <arpa/inet.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

static fwt_redis redis;

static void start(chaos_stage *chaos)
{
    (void)chaos;
    fwt_redis_start(&redis, NULL);
}

static void stop(chaos_stage *chaos)
{
    (void)chaos;
    fwt_redis_kill(&redis);
}

static void write_url(chaos_stage *chaos, int port, char *url, size_t size)
{
    (void)chaos;
    snprintf(url, size, "redis://127.0.0.1:%d/0/chaos", port);
}

static int port(chaos_stage *chaos)
{
    (void)chaos;
    return redis.port;
}

static void restart(chaos_stage *chaos)
{
    (void)chaos;
    fwt_redis_restart(&redis);
}

static void send_signal(chaos_stage *chaos, int sig)
{
    (void)chaos;
    fwt_proc_signal(redis.proc, sig);
}

static void wipe(chaos_stage *chaos)
{
    (void)chaos;
    snprintf(redis.data_dir, sizeof redis.data_dir, "%s", fwt_tmpdir());
}

static void flushed(chaos_stage *chaos)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)redis.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char reply[64] = "";
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    chaos_run_some(chaos, 500, 800);
    chaos_put_ends(chaos, 1500);
    chaos->wiped_from_ns = uv_hrtime();
    ck_assert_int_eq(send(fd, "FLUSHALL\r\n", 10, MSG_NOSIGNAL), 10);
    struct pollfd waiting = {.fd = fd, .events = POLLIN};
    ck_assert_int_eq(poll(&waiting, 1, CHAOS_WAIT_MS), 1);
    ck_assert_int_gt(read(fd, reply, sizeof reply - 1), 0);
    ck_assert_str_eq(reply, "+OK\r\n");
    chaos->wiped_ns = uv_hrtime();
    close(fd);
    chaos_recover(chaos);
    chaos_run_some(chaos, 200, 500);
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
    {"flushed", .run = flushed},
    {.name = NULL}};

const chaos_driver chaos_this_driver = {.name = "redis",
                                        .scenarios = scenarios,
                                        .start = start,
                                        .stop = stop,
                                        .url = write_url,
                                        .port = port,
                                        .kill = stop,
                                        .restart = restart,
                                        .signal = send_signal,
                                        .wipe = wipe};
