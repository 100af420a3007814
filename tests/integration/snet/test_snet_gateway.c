/*
 * The gateway with snet on both of its sides: virtual connections outlive the links below, and
 * servers authenticate over an enciphered one (which the originals get wrong).
 */
#include <fairway/gateway.h>
#include <fairway/vconn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "fwt.h"

#define WAIT_MS 30000

static struct party {
    fw_endpoint *endpoint;
    fw_vconn *vconn;
    bool ready, lost, open, closed, endpoint_closed;
    int status, reason;
    char in[200];
    size_t in_len;
} client, server;

static void on_ready(fw_endpoint *endpoint, void *arg)
{
    (void)endpoint;
    ((struct party *)arg)->ready = true;
}

static void on_lost(fw_endpoint *endpoint, int reason, uint32_t retry_ms, void *arg)
{
    (void)endpoint;
    (void)retry_ms;
    struct party *party = arg;
    party->lost = true;
    party->reason = reason;
}

static void on_open(fw_vconn *vconn, int status, void *arg)
{
    (void)vconn;
    struct party *party = arg;
    party->open = true;
    party->status = status;
}

static void on_message(fw_vconn *vconn, const uint8_t *data, size_t len, void *arg)
{
    (void)vconn;
    struct party *party = arg;
    ck_assert_uint_lt(party->in_len + len, sizeof party->in);
    memcpy(party->in + party->in_len, data, len);
    party->in_len += len;
}

static void on_closed(fw_vconn *vconn, int reason, void *arg)
{
    (void)vconn;
    struct party *party = arg;
    party->closed = true;
    party->reason = reason;
    party->vconn = NULL;
}

static const fw_vconn_events vconn_events = {
    .on_open = on_open, .on_message = on_message, .on_closed = on_closed};

static void on_connect(fw_endpoint *endpoint, fw_vconn *vconn, void *arg)
{
    (void)endpoint;
    struct party *party = arg;
    party->vconn = vconn;
    fw_vconn_set_events(vconn, &vconn_events, party);
}

static void on_endpoint_closed(void *arg)
{
    ((struct party *)arg)->endpoint_closed = true;
}

static void attach(struct party *party, fw_endpoint_role role, int port, const char *params)
{
    char url[200];
    fw_endpoint_options options;
    fw_endpoint_options_init(&options, role);
    options.server_id = 10086;
    options.auth_key = "secret";
    options.reconnect = false;
    options.events =
        (fw_endpoint_events){.on_ready = on_ready, .on_lost = on_lost, .on_connect = on_connect};
    options.arg = party;
    snprintf(url, sizeof url, "snet://127.0.0.1:%d?retry_max_ms=20&%s", port, params);
    FWT_OK(fw_endpoint_dial(fwt_loop, url, &options, &party->endpoint));
    fwt_run_until(&party->ready, WAIT_MS);
}

static void leave(struct party *party)
{
    fw_endpoint_close(party->endpoint, on_endpoint_closed, party);
    fwt_run_until(&party->endpoint_closed, WAIT_MS);
}

static void say(struct party *from, struct party *to, const char *text)
{
    size_t before = to->in_len;
    FWT_OK(fw_vconn_send(from->vconn, text, strlen(text)));
    fwt_run_count(&to->in_len, before + strlen(text), WAIT_MS);
    ck_assert_int_eq(memcmp(to->in + before, text, strlen(text)), 0);
}

static int port_of(const char *url)
{
    ck_assert(!strncmp(url, "snet://127.0.0.1:", 17));
    return atoi(strrchr(url, ':') + 1);
}

static void set_true(void *arg)
{
    *(bool *)arg = true;
}

/* What the client and the server dial with, and what the gateway listens with. */
static const char *const setups[][3] = {
    {"flavour=uniway", "flavour=fastway", ""},
    {"flavour=fastway&encrypt=1", "flavour=uniway&encrypt=1", "?encrypt=1"},
};

/* A virtual connection, with its links cut between its messages, and under them. */
static void talk(int client_port, int server_port, const char *const setup[3])
{
    fwt_proxy *proxies[] = {fwt_proxy_start(client_port), fwt_proxy_start(server_port)};
    attach(&server, FW_ENDPOINT_SERVER, fwt_proxy_port(proxies[1]), setup[1]);
    attach(&client, FW_ENDPOINT_CLIENT, fwt_proxy_port(proxies[0]), setup[0]);
    FWT_OK(fw_vconn_dial(client.endpoint, 10086, 0, &vconn_events, &client, &client.vconn));
    fwt_run_until(&client.open, WAIT_MS);
    FWT_OK(client.status);
    say(&client, &server, "hello");
    say(&server, &client, "welcome");
    for (int round = 0; round < 8; round++) {
        fwt_proxy_cut(proxies[round % 2], round & 2);
        if (round & 4)
            fwt_proxy_cut(proxies[1 - round % 2], false);
        say(&client, &server, "still there?");
        say(&server, &client, "yes");
    }
    ck_assert(!client.lost && !server.lost && !client.closed && !server.closed);
    leave(&client);
    fwt_run_until(&server.closed, WAIT_MS); /* after the wait */
    ck_assert_int_eq(server.reason, UV_EOF);
    leave(&server);
    fwt_proxy_end(proxies[0]);
    fwt_proxy_end(proxies[1]);
}

START_TEST(virtual_connections_outlive_links)
{
    char client_url[200], server_url[200];
    fw_gateway *gateway;
    fw_gateway_options options;
    fw_gateway_options_init(&options);
    snprintf(client_url, sizeof client_url, "snet://127.0.0.1:0%s%swait_timeout_ms=5000",
             setups[_i][2], *setups[_i][2] ? "&" : "?");
    snprintf(server_url, sizeof server_url, "snet://127.0.0.1:0%s", setups[_i][2]);
    options.client_url = client_url;
    options.server_url = server_url;
    options.auth_key = "secret";
    FWT_OK(fw_gateway_new(fwt_loop, &options, &gateway));
    talk(port_of(fw_gateway_client_url(gateway)), port_of(fw_gateway_server_url(gateway)),
         setups[_i]);
    bool closed = false;
    fw_gateway_close(gateway, set_true, &closed);
    fwt_run_until(&closed, WAIT_MS);
}
END_TEST

#ifdef SNET_PROGRAM
START_TEST(the_program_listens_on_snet)
{
    const char *argv[] = {FWT_PROGRAM,
                          "gateway",
                          "--client-addr",
                          "snet://127.0.0.1:0?wait_timeout_ms=5000",
                          "--server-addr",
                          "snet://127.0.0.1:0?encrypt=0",
                          NULL};
    setenv("FAIRWAY_SERVER_AUTH_KEY", "secret", 1);
    fwt_proc *proc = fwt_proc_start(argv);
    const char *line = fwt_proc_expect(proc, "gateway: clients at ", WAIT_MS);
    const char *clients = strstr(line, "snet://"), *servers = strstr(clients + 1, "snet://");
    int client_port = atoi(strchr(clients + 7, ':') + 1);
    int server_port = atoi(strchr(servers + 7, ':') + 1);
    talk(client_port, server_port, setups[0]);
    fwt_proc_signal(proc, SIGTERM);
    ck_assert_int_eq(fwt_proc_wait(proc, WAIT_MS), 0);
    fwt_proc_end(proc);
}
END_TEST
#endif

int main(void)
{
    Suite *suite = suite_create("snet gateway");
    TCase *tcase = fwt_tcase(suite, "gateway", 90);
    tcase_add_loop_test(tcase, virtual_connections_outlive_links, 0,
                        (int)(sizeof setups / sizeof *setups));
#ifdef SNET_PROGRAM
    tcase_add_test(tcase, the_program_listens_on_snet);
#endif
    return fwt_main(suite);
}
