#include "etcd_faults.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static fwt_etcd etcd;

void etcd_start(chaos_stage *chaos)
{
    (void)chaos;
    fwt_etcd_start(&etcd);
}

void etcd_stop(chaos_stage *chaos)
{
    (void)chaos;
    fwt_etcd_kill(&etcd);
}

int etcd_port(chaos_stage *chaos)
{
    (void)chaos;
    return etcd.port;
}

void etcd_kill(chaos_stage *chaos)
{
    (void)chaos;
    fwt_etcd_kill(&etcd);
}

void etcd_restart(chaos_stage *chaos)
{
    (void)chaos;
    fwt_etcd_restart(&etcd);
}

void etcd_signal(chaos_stage *chaos, int sig)
{
    (void)chaos;
    fwt_proc_signal(etcd.proc, sig);
}

void etcd_wipe(chaos_stage *chaos)
{
    (void)chaos;
    snprintf(etcd.data_dir, sizeof etcd.data_dir, "%s/etcd", fwt_tmpdir());
}

/* A request to etcd's JSON gateway; fails the test if it is refused. The reply is static. */
static const char *post(const char *path, const char *body)
{
    static char reply[4096];
    char request[1024];
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)etcd.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval limit = {.tv_sec = 10};
    size_t len = 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    int request_len = snprintf(request, sizeof request,
                               "POST %s HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\n"
                               "Content-Length: %zu\r\n\r\n%s",
                               path, strlen(body), body);
    ck_assert_int_eq(send(fd, request, (size_t)request_len, MSG_NOSIGNAL), request_len);
    for (ssize_t n;
         len < sizeof reply - 1 && (n = read(fd, reply + len, sizeof reply - 1 - len)) > 0;)
        len += (size_t)n;
    reply[len] = 0;
    close(fd);
    ck_assert_msg(strstr(reply, " 200 "), "POST %s %s: %s", path, body, reply);
    return reply;
}

void etcd_compacted(chaos_stage *chaos)
{
    chaos_run_some(chaos, 200, 500);
    fwt_proxy_refuse(chaos->proxy);
    fwt_proxy_cut(chaos->proxy, true);
    chaos_run_some(chaos, 300, 800);
    char body[80];
    snprintf(body, sizeof body, "{\"revision\":\"%" PRId64 "\"}", chaos_put_end(chaos, 0));
    post("/v3/kv/compaction", body);
    fwt_proxy_pass(chaos->proxy);
    chaos_recover(chaos);
    chaos_await_resyncs(chaos);
    chaos_run_some(chaos, 200, 500);
}

void etcd_no_space(chaos_stage *chaos)
{
    chaos_run_some(chaos, 200, 500);
    post("/v3/maintenance/alarm", "{\"action\":\"ACTIVATE\",\"alarm\":\"NOSPACE\"}");
    chaos_run_for(chaos, CHAOS_TTL_MS + 1000); /* leases are renewed meanwhile */
    post("/v3/maintenance/alarm", "{\"action\":\"DEACTIVATE\",\"alarm\":\"NOSPACE\"}");
    chaos_recover(chaos);
}
