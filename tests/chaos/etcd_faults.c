#include "etcd_faults.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static fwt_etcd etcd;
static fwt_etcd_cluster cluster;
static bool is_cluster;

void etcd_start(chaos_stage *chaos)
{
    (void)chaos;
    fwt_etcd_start(&etcd);
}

void etcd_start_cluster(chaos_stage *chaos)
{
    (void)chaos;
    is_cluster = true;
    fwt_etcd_cluster_start(&cluster);
    fwt_etcd_cluster_leader(&cluster);
}

void etcd_start_with_users(chaos_stage *chaos)
{
    static const char *const options[] = {"--auth-token-ttl", "2", NULL};
    fwt_etcd_start(&etcd);
    fwt_etcd_kill(&etcd);
    etcd.options = options;
    fwt_etcd_restart(&etcd);
    fwt_etcd_enable_users(&etcd, "secret");
    chaos->user = "root";
    chaos->password = "secret";
}

void etcd_stop(chaos_stage *chaos)
{
    (void)chaos;
    if (is_cluster)
        fwt_etcd_cluster_end(&cluster);
    else
        fwt_etcd_kill(&etcd);
}

void etcd_url(const char *scheme, int port, char *url, size_t size)
{
    if (is_cluster)
        snprintf(url, size, "%s://127.0.0.1:%d,127.0.0.1:%d,127.0.0.1:%d/chaos", scheme,
                 cluster.members[0].port, cluster.members[1].port, cluster.members[2].port);
    else
        snprintf(url, size, "%s://127.0.0.1:%d/chaos", scheme, port);
}

int etcd_port(chaos_stage *chaos)
{
    (void)chaos;
    return is_cluster ? cluster.members[0].port : etcd.port;
}

void etcd_kill(chaos_stage *chaos)
{
    etcd_stop(chaos);
}

void etcd_restart(chaos_stage *chaos)
{
    (void)chaos;
    if (is_cluster)
        fwt_etcd_cluster_restart(&cluster);
    else
        fwt_etcd_restart(&etcd);
}

void etcd_signal(chaos_stage *chaos, int sig)
{
    (void)chaos;
    fwt_proc_signal(etcd.proc, sig);
}

static void new_data(fwt_etcd *server)
{
    snprintf(server->data_dir, sizeof server->data_dir, "%s/etcd", fwt_tmpdir());
}

void etcd_wipe(chaos_stage *chaos)
{
    (void)chaos;
    for (size_t i = 0; is_cluster && i < FWT_ETCD_MEMBERS; i++)
        new_data(&cluster.members[i]);
    if (!is_cluster)
        new_data(&etcd);
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

void etcd_token_expired(chaos_stage *chaos)
{
    chaos_run_some(chaos, 200, 500);
    fwt_proxy_freeze(chaos->proxy, FWT_PROXY_BOTH);
    chaos_run_for(chaos, 4500);
    fwt_proxy_pass(chaos->proxy);
    chaos_recover(chaos);
    etcd_kill(chaos);
    etcd_restart(chaos);
    chaos_recover(chaos);
}

fwt_etcd *etcd_kill_leader(chaos_stage *chaos)
{
    (void)chaos;
    fwt_etcd *leader = &cluster.members[fwt_etcd_cluster_leader(&cluster)];
    fwt_etcd_kill(leader);
    return leader;
}

void etcd_leader_killed(chaos_stage *chaos)
{
    for (int i = 0; i < 2; i++) {
        chaos_run_some(chaos, 200, 500);
        fwt_etcd *leader = etcd_kill_leader(chaos);
        chaos_recover(chaos);
        fwt_etcd_restart(leader);
    }
    chaos_recover(chaos);
}

void etcd_leader_hung(chaos_stage *chaos)
{
    fwt_etcd *leader = &cluster.members[fwt_etcd_cluster_leader(&cluster)];
    chaos_run_some(chaos, 200, 500);
    fwt_proc_signal(leader->proc, SIGSTOP);
    chaos_recover(chaos);
    chaos_run_some(chaos, 0, 2000);
    fwt_proc_signal(leader->proc, SIGCONT);
    chaos_recover(chaos);
}

void etcd_minority(chaos_stage *chaos)
{
    size_t alone = chaos_roll(chaos, FWT_ETCD_MEMBERS);
    chaos_run_some(chaos, 200, 500);
    for (size_t i = 0; i < FWT_ETCD_MEMBERS; i++)
        if (i != alone)
            fwt_proc_signal(cluster.members[i].proc, SIGSTOP);
    chaos_run_for(chaos, CHAOS_TTL_MS + 1000);
    for (size_t i = 0; i < FWT_ETCD_MEMBERS; i++)
        if (i != alone)
            fwt_proc_signal(cluster.members[i].proc, SIGCONT);
    chaos_recover(chaos);
    chaos_run_some(chaos, 200, 500);
}
