#include "fwt.h"

#include <inttypes.h>
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#define START_MS       60000
#define TRY_MS         30000 /* the same for one of TRIES */
#define TRIES          3
#define MAX_ARGS       48
#define MAX_PAGE_BYTES (1u << 20)

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

/* Asks a server for a page; what came is valid until the next. */
static const char *get_page(int port, const char *path)
{
    char request[80];
    static char reply[MAX_PAGE_BYTES];
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    size_t len = 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int request_len = snprintf(request, sizeof request, "GET %s HTTP/1.0\r\n\r\n", path);
    if (!connect(fd, (struct sockaddr *)&address, sizeof address) &&
        send(fd, request, (size_t)request_len, MSG_NOSIGNAL) == request_len) {
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        ssize_t n;
        while (len < sizeof reply - 1 && poll(&waiting, 1, 500) > 0 &&
               (n = read(fd, reply + len, sizeof reply - 1 - len)) > 0)
            len += (size_t)n;
    }
    close(fd);
    reply[len] = 0;
    return reply;
}

static bool answers(int port, const char *path, const char *text)
{
    return strstr(get_page(port, path), text) != NULL;
}

/* Starts it on its ports and data; it is not ready yet. */
static void launch(fwt_etcd *etcd)
{
    const char *scheme = etcd->tls[0][0] ? "https" : "http";
    char client[64], peer[64], alone[100], health[64];
    snprintf(client, sizeof client, "%s://127.0.0.1:%d", scheme, etcd->port);
    snprintf(peer, sizeof peer, "http://127.0.0.1:%d", etcd->peer_port);
    snprintf(alone, sizeof alone, "%s=%s", etcd->name, peer);
    snprintf(health, sizeof health, "http://127.0.0.1:%d", etcd->health_port);
    const char *base[] = {"etcd",
                          "--name",
                          etcd->name,
                          "--data-dir",
                          etcd->data_dir,
                          "--listen-client-urls",
                          client,
                          "--advertise-client-urls",
                          client,
                          "--listen-peer-urls",
                          peer,
                          "--initial-advertise-peer-urls",
                          peer,
                          "--initial-cluster",
                          etcd->cluster ? etcd->cluster : alone,
                          "--logger",
                          "zap",
                          "--log-level",
                          "error",
                          "--unsafe-no-fsync",
                          "--experimental-watch-progress-notify-interval",
                          "1s"};
    const char *argv[MAX_ARGS] = {NULL};
    size_t n = sizeof base / sizeof *base;
    memcpy(argv, base, sizeof base);
    if (etcd->cluster) {
        argv[n++] = "--heartbeat-interval=50";
        argv[n++] = "--election-timeout=500";
    }
    if (etcd->health_port) {
        argv[n++] = "--listen-metrics-urls";
        argv[n++] = health;
    }
    static const char *const files[] = {"--cert-file", "--key-file", "--trusted-ca-file"};
    for (size_t i = 0; i < 3 && etcd->tls[i][0]; i++) {
        argv[n++] = files[i];
        argv[n++] = etcd->tls[i];
    }
    if (etcd->tls[2][0])
        argv[n++] = "--client-cert-auth";
    for (size_t i = 0; etcd->options && etcd->options[i] && n < MAX_ARGS - 1; i++)
        argv[n++] = etcd->options[i];
    etcd->proc = fwt_proc_start(argv);
}

static bool has_ended(const fwt_etcd *etcd)
{
    siginfo_t info = {.si_pid = 0};
    return !waitid(P_PID, (id_t)fwt_proc_pid(etcd->proc), &info, WEXITED | WNOHANG | WNOWAIT) &&
           info.si_pid;
}

/* False if it has ended, or the time has. */
static bool comes_up(const fwt_etcd *etcd, uint64_t within_ms)
{
    int port = etcd->health_port ? etcd->health_port : etcd->port;
    uint64_t deadline = now_ms() + within_ms;
    while (!answers(port, "/health", "\"true\"")) {
        if (has_ended(etcd) || now_ms() > deadline)
            return false;
        poll(NULL, 0, 20);
    }
    return true;
}

static void give_up(void)
{
    fprintf(stderr, "etcd did not come up (is etcd-server installed?)\n");
    exit(1);
}

void fwt_etcd_restart(fwt_etcd *etcd)
{
    if (!etcd->name[0])
        snprintf(etcd->name, sizeof etcd->name, "t");
    launch(etcd);
    if (!comes_up(etcd, START_MS))
        give_up();
}

/* Ports and a directory of its own. */
static void place(fwt_etcd *etcd)
{
    etcd->port = fwt_free_port();
    etcd->peer_port = fwt_free_port();
    if (etcd->tls[0][0])
        etcd->health_port = fwt_free_port();
    snprintf(etcd->data_dir, sizeof etcd->data_dir, "%s/etcd", fwt_tmpdir());
}

/* Its first start: nobody knows its ports yet, so that others do if one was taken meanwhile. */
static void start(fwt_etcd *etcd)
{
    snprintf(etcd->name, sizeof etcd->name, "t");
    for (int i = 0; i < TRIES; i++) {
        place(etcd);
        launch(etcd);
        if (comes_up(etcd, TRY_MS))
            return;
        fwt_etcd_kill(etcd);
    }
    give_up();
}

void fwt_etcd_start(fwt_etcd *etcd)
{
    *etcd = (fwt_etcd){.port = 0};
    start(etcd);
}

void fwt_etcd_start_tls(fwt_etcd *etcd, const char *cert, const char *key, const char *client_ca)
{
    *etcd = (fwt_etcd){.port = 0};
    snprintf(etcd->tls[0], sizeof etcd->tls[0], "%s", cert);
    snprintf(etcd->tls[1], sizeof etcd->tls[1], "%s", key);
    snprintf(etcd->tls[2], sizeof etcd->tls[2], "%s", client_ca ? client_ca : "");
    start(etcd);
}

void fwt_etcd_kill(fwt_etcd *etcd)
{
    fwt_proc_end(etcd->proc);
    etcd->proc = NULL;
}

static char *etcdctl(int port, const char *const *args, const char *tolerated)
{
    char endpoint[80], *out, *err;
    const char *argv[MAX_ARGS] = {"env", "ETCDCTL_API=3", "etcdctl", endpoint};
    snprintf(endpoint, sizeof endpoint, "--endpoints=127.0.0.1:%d", port);
    for (size_t n = 4; *args && n < MAX_ARGS - 1; n++)
        argv[n] = *args++;
    int rc = fwt_run(argv, NULL, &out, &err, START_MS);
    bool is_tolerated = tolerated && strstr(err, tolerated);
    ck_assert_msg(rc == 0 || is_tolerated, "etcdctl %s: %s", argv[4], err);
    free(err);
    return out;
}

char *fwt_etcdctl(int port, const char *const *args)
{
    return etcdctl(port, args, NULL);
}

void fwt_etcd_revoke(int port, int64_t lease)
{
    char id[24];
    snprintf(id, sizeof id, "%" PRIx64, (uint64_t)lease);
    free(etcdctl(port, (const char *const[]){"lease", "revoke", id, NULL},
                 "requested lease not found"));
}

void fwt_etcd_enable_users(const fwt_etcd *etcd, const char *password)
{
    char root[100];
    snprintf(root, sizeof root, "root:%s", password);
    free(fwt_etcdctl(etcd->port, (const char *const[]){"user", "add", root, NULL}));
    free(
        fwt_etcdctl(etcd->port, (const char *const[]){"user", "grant-role", "root", "root", NULL}));
    free(fwt_etcdctl(etcd->port, (const char *const[]){"auth", "enable", NULL}));
}

unsigned long fwt_etcd_metric(int port, const char *name)
{
    char line[160];
    snprintf(line, sizeof line, "\n%s", name);
    const char *at = strstr(get_page(port, "/metrics"), line);
    if (!at)
        return 0;
    at += strlen(line);
    const char *labels = strstr(at, "} ");
    const char *end = strchr(at, '\n');
    return (unsigned long)strtod(labels && labels < end ? labels + 2 : at, NULL);
}

unsigned long fwt_etcd_calls(int port, const char *method)
{
    char name[100];
    snprintf(name, sizeof name, "grpc_server_started_total{grpc_method=\"%s\"", method);
    return fwt_etcd_metric(port, name);
}

/* ---- clusters ---- */

static void place_cluster(fwt_etcd_cluster *cluster)
{
    size_t len = 0;
    for (size_t i = 0; i < FWT_ETCD_MEMBERS; i++) {
        fwt_etcd *member = &cluster->members[i];
        *member = (fwt_etcd){.cluster = cluster->initial};
        place(member);
        snprintf(member->name, sizeof member->name, "m%zu", i);
        len += (size_t)snprintf(cluster->initial + len, sizeof cluster->initial - len,
                                "%sm%zu=http://127.0.0.1:%d", i ? "," : "", i, member->peer_port);
    }
}

/* True if all come up, each within the time. */
static bool launch_cluster(fwt_etcd_cluster *cluster, uint64_t within_ms)
{
    bool is_up = true;
    for (size_t i = 0; i < FWT_ETCD_MEMBERS; i++)
        launch(&cluster->members[i]);
    for (size_t i = 0; is_up && i < FWT_ETCD_MEMBERS; i++)
        is_up = comes_up(&cluster->members[i], within_ms);
    return is_up;
}

void fwt_etcd_cluster_start(fwt_etcd_cluster *cluster)
{
    for (int i = 0; i < TRIES; i++) {
        place_cluster(cluster);
        if (launch_cluster(cluster, TRY_MS))
            return;
        fwt_etcd_cluster_end(cluster);
    }
    give_up();
}

void fwt_etcd_cluster_restart(fwt_etcd_cluster *cluster)
{
    if (!launch_cluster(cluster, START_MS))
        give_up();
}

void fwt_etcd_cluster_end(fwt_etcd_cluster *cluster)
{
    for (size_t i = 0; i < FWT_ETCD_MEMBERS; i++)
        fwt_etcd_kill(&cluster->members[i]);
}

size_t fwt_etcd_cluster_leader(fwt_etcd_cluster *cluster)
{
    uint64_t deadline = now_ms() + START_MS;
    while (now_ms() < deadline) {
        for (size_t i = 0; i < FWT_ETCD_MEMBERS; i++)
            if (cluster->members[i].proc &&
                answers(cluster->members[i].port, "/metrics", "\netcd_server_is_leader 1\n"))
                return i;
        poll(NULL, 0, 20);
    }
    ck_abort_msg("no member of the etcd cluster became its leader");
    return 0;
}

void fwt_etcd_cluster_url(const fwt_etcd_cluster *cluster, const char *path, char *ret_url,
                          size_t size)
{
    int len = snprintf(ret_url, size, "etcd://");
    for (size_t i = 0; i < FWT_ETCD_MEMBERS; i++)
        len += snprintf(ret_url + len, size - (size_t)len, "%s127.0.0.1:%d", i ? "," : "",
                        cluster->members[i].port);
    snprintf(ret_url + len, size - (size_t)len, "%s", path);
}
