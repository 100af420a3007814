#include "fwt.h"

#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

static bool answers(int port)
{
    static const char request[] = "GET /health HTTP/1.0\r\n\r\n";
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char reply[2048];
    size_t len = 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (!connect(fd, (struct sockaddr *)&address, sizeof address) &&
        write(fd, request, sizeof request - 1) == sizeof request - 1) {
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        ssize_t n;
        while (len < sizeof reply - 1 && poll(&waiting, 1, 500) > 0 &&
               (n = read(fd, reply + len, sizeof reply - 1 - len)) > 0)
            len += (size_t)n;
    }
    close(fd);
    reply[len] = 0;
    return strstr(reply, "\"true\"") != NULL;
}

void fwt_etcd_restart(fwt_etcd *etcd)
{
    char client[64], peer[64], cluster[80];
    snprintf(client, sizeof client, "http://127.0.0.1:%d", etcd->port);
    snprintf(peer, sizeof peer, "http://127.0.0.1:%d", etcd->peer_port);
    snprintf(cluster, sizeof cluster, "t=%s", peer);
    const char *argv[] = {"etcd",
                          "--name",
                          "t",
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
                          cluster,
                          "--logger",
                          "zap",
                          "--log-level",
                          "error",
                          "--unsafe-no-fsync",
                          "--experimental-watch-progress-notify-interval",
                          "1s",
                          NULL};
    etcd->proc = fwt_proc_start(argv);
    uint64_t deadline = uv_hrtime() / 1000000 + 20000;
    while (!answers(etcd->port)) {
        if (uv_hrtime() / 1000000 > deadline) {
            fprintf(stderr, "etcd did not come up (is etcd-server installed?)\n");
            (void)fwt_proc_printed(etcd->proc, "");
            exit(1);
        }
        poll(NULL, 0, 50);
    }
}

void fwt_etcd_start(fwt_etcd *etcd)
{
    etcd->port = fwt_free_port();
    etcd->peer_port = fwt_free_port();
    snprintf(etcd->data_dir, sizeof etcd->data_dir, "%s/etcd", fwt_tmpdir());
    fwt_etcd_restart(etcd);
}

void fwt_etcd_kill(fwt_etcd *etcd)
{
    fwt_proc_end(etcd->proc);
    etcd->proc = NULL;
}
