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

#define JARS "/usr/share/java/"

/* The status, which a server gives that serves. */
static bool answers(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char reply[1024];
    size_t len = 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (!connect(fd, (struct sockaddr *)&address, sizeof address) && write(fd, "srvr", 4) == 4) {
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        ssize_t n;
        while (len < sizeof reply - 1 && poll(&waiting, 1, 500) > 0 &&
               (n = read(fd, reply + len, sizeof reply - 1 - len)) > 0)
            len += (size_t)n;
    }
    close(fd);
    reply[len] = 0;
    return strstr(reply, "Mode:") != NULL;
}

void fwt_zookeeper_restart(fwt_zookeeper *zookeeper)
{
    char configuration[300];
    snprintf(configuration, sizeof configuration, "%s/zoo.cfg", zookeeper->data_dir);
    FILE *file = fopen(configuration, "w");
    ck_assert_ptr_nonnull(file);
    /* Short ticks allow short sessions: of two to so many ticks as it says. */
    fprintf(file,
            "dataDir=%s\n"
            "clientPort=%d\n"
            "clientPortAddress=127.0.0.1\n"
            "tickTime=250\n"
            "maxSessionTimeout=%d\n"
            "maxClientCnxns=0\n"
            "admin.enableServer=false\n"
            "4lw.commands.whitelist=srvr\n",
            zookeeper->data_dir, zookeeper->port, FWT_ZOOKEEPER_MAX_SESSION_MS);
    ck_assert_int_eq(fclose(file), 0);
    char packets[64];
    snprintf(packets, sizeof packets, "-Djute.maxbuffer=%d", FWT_ZOOKEEPER_PACKET_BYTES);
    const char *argv[] = {"java",
                          "-Xmx192m",
                          "-XX:+UseSerialGC",
                          "-XX:TieredStopAtLevel=1",
                          "-Dzookeeper.forceSync=no",
                          packets,
                          "-cp",
                          JARS "zookeeper.jar:" JARS "zookeeper-jute.jar:" JARS
                               "slf4j-api.jar:" JARS "slf4j-nop.jar:" JARS "netty-all.jar:" JARS
                               "snappy-java.jar:" JARS "metrics-core.jar:" JARS "commons-cli.jar",
                          "org.apache.zookeeper.server.ZooKeeperServerMain",
                          configuration,
                          NULL};
    zookeeper->proc = fwt_proc_start(argv);
    uint64_t deadline = uv_hrtime() / 1000000 + 60000;
    while (!answers(zookeeper->port)) {
        if (uv_hrtime() / 1000000 > deadline) {
            fprintf(stderr, "ZooKeeper did not come up (is zookeeper installed?)\n");
            (void)fwt_proc_printed(zookeeper->proc, "");
            exit(1);
        }
        poll(NULL, 0, 50);
    }
}

void fwt_zookeeper_start(fwt_zookeeper *zookeeper)
{
    zookeeper->port = fwt_free_port();
    snprintf(zookeeper->data_dir, sizeof zookeeper->data_dir, "%s/zookeeper-%d", fwt_tmpdir(),
             zookeeper->port);
    ck_assert_int_eq(mkdir(zookeeper->data_dir, 0700), 0);
    fwt_zookeeper_restart(zookeeper);
}

void fwt_zookeeper_kill(fwt_zookeeper *zookeeper)
{
    fwt_proc_end(zookeeper->proc);
    zookeeper->proc = NULL;
}
