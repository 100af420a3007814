#include "disc_net.h"

#include "fwt.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COMMAND_MS 20000

/* Runs "ip ..." in the network where the thread is. */
static void ip(const char *const *args)
{
    const char *argv[16] = {"ip"};
    char *err = NULL;
    for (size_t i = 1; i < 15 && *args; i++)
        argv[i] = *args++;
    int rc = fwt_run(argv, NULL, NULL, &err, COMMAND_MS);
    ck_assert_msg(rc == 0, "ip %s %s (is iproute2 installed?): %s", argv[1], argv[2], err);
    free(err);
}
#define IP(...) ip((const char *const[]){__VA_ARGS__, NULL})

static int new_network(void)
{
    ck_assert_msg(unshare(CLONE_NEWNET) == 0,
                  "cannot make a network namespace (%s): this scenario needs root, with "
                  "CAP_SYS_ADMIN and CAP_NET_ADMIN",
                  strerror(errno));
    int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    IP("link", "set", "lo", "up");
    return fd;
}

void disc_net_start(disc_net *net)
{
    char outer[64];
    net->outer = new_network();
    net->inner = new_network();
    snprintf(outer, sizeof outer, "/proc/%d/fd/%d", (int)getpid(), net->outer);
    IP("link", "add", "inner", "type", "veth", "peer", "name", "outer", "netns", outer);
    IP("address", "add", DISC_NET_INNER "/24", "dev", "inner");
    IP("link", "set", "inner", "up");
    disc_net_enter(net, false);
    IP("address", "add", DISC_NET_OUTER "/24", "dev", "outer");
    disc_net_plug(net, true);
}

void disc_net_enter(const disc_net *net, bool inner)
{
    ck_assert_int_eq(setns(inner ? net->inner : net->outer, CLONE_NEWNET), 0);
}

void disc_net_plug(const disc_net *net, bool in)
{
    (void)net;
    IP("link", "set", "outer", in ? "up" : "down");
}

void disc_net_end(disc_net *net)
{
    if (!net->outer)
        return;
    close(net->outer);
    close(net->inner);
}
