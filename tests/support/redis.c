#include "fwt.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

/* Any answer but LOADING will do: the server may want a password. */
static bool answers(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char reply[256];
    ssize_t n = 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct pollfd waiting = {.fd = fd, .events = POLLIN};
    if (!connect(fd, (struct sockaddr *)&address, sizeof address) &&
        write(fd, "PING\r\n", 6) == 6 && poll(&waiting, 1, 500) > 0)
        n = read(fd, reply, sizeof reply - 1);
    close(fd);
    reply[n > 0 ? n : 0] = 0;
    return n > 0 && strncmp(reply, "-LOADING", 8) != 0;
}

void fwt_redis_restart(fwt_redis *redis)
{
    char port[16];
    snprintf(port, sizeof port, "%d", redis->port);
    const char *argv[32] = {"redis-server", "--port",        port,     "--bind", "127.0.0.1",
                            "--dir",        redis->data_dir, "--save", "",       "--appendonly",
                            "yes",          "--appendfsync", "no"};
    size_t count = 13;
    for (const char *const *one = redis->options; one && *one && count < 31; one++)
        argv[count++] = *one;
    redis->proc = fwt_proc_start(argv);
    uint64_t deadline = uv_hrtime() / 1000000 + 20000;
    while (!answers(redis->port)) {
        if (uv_hrtime() / 1000000 > deadline) {
            fprintf(stderr, "redis did not come up (is redis-server installed?)\n");
            (void)fwt_proc_printed(redis->proc, "");
            exit(1);
        }
        poll(NULL, 0, 20);
    }
}

void fwt_redis_start(fwt_redis *redis, const char *const *options)
{
    redis->port = fwt_free_port();
    redis->options = options;
    snprintf(redis->data_dir, sizeof redis->data_dir, "%s/redis-%d", fwt_tmpdir(), redis->port);
    ck_assert_int_eq(mkdir(redis->data_dir, 0700), 0);
    fwt_redis_restart(redis);
}

void fwt_redis_kill(fwt_redis *redis)
{
    fwt_proc_end(redis->proc);
    redis->proc = NULL;
}
