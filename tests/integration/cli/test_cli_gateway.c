/* fairway gateway: as a daemon, with the peers that it will meet. */
#include "clit_gateway.h"

#include <fairway/error.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FAILED = 1 };

/* ---- the daemon ---- */

START_TEST(a_service_stands_behind_it)
{
    gateway_run gateway = start_gateway(NULL);
    fwt_proc *service = start_service(&gateway, "k");
    clit_await(service, "behind: attached to the gateway\n");
    fwt_proc_expect(gateway.proc, "server registered", CLIT_PATIENCE_MS);
    int fd = raw_dial(gateway.client_addr);
    raw_echo(fd, raw_open(fd));
    close(fd);
    clit_end(service, SIGTERM, 0);
    clit_end(gateway.proc, SIGTERM, 0);
}
END_TEST

START_TEST(it_ends_with_everybody_connected)
{
    gateway_run gateway = start_gateway(NULL);
    fwt_proc *service = start_service(&gateway, "k");
    clit_await(service, "attached to the gateway");
    int fd = raw_dial(gateway.client_addr), idle = raw_dial(gateway.client_addr);
    raw_echo(fd, raw_open(fd));
    clit_end(gateway.proc, _i ? SIGINT : SIGTERM, 0);
    uint8_t rest[64];
    raw_read(fd, rest, sizeof rest); /* comes to an end */
    ck_assert_uint_eq(raw_read(idle, rest, sizeof rest), 0);
    close(fd);
    close(idle);
    fwt_proc_expect(service, "gateway lost", CLIT_PATIENCE_MS);
    clit_end(service, SIGTERM, 0);
}
END_TEST

START_TEST(a_service_returns_to_a_new_gateway)
{
    gateway_run gateway = start_gateway(NULL);
    fwt_proc *service = start_service(&gateway, "k");
    clit_await(service, "attached to the gateway");
    clit_end(gateway.proc, SIGKILL, 128 + SIGKILL);
    fwt_proc_expect(service, "gateway lost", CLIT_PATIENCE_MS);
    gateway.proc = clit_start("gateway", "--client-addr", gateway.client_addr, "--server-addr",
                              gateway.server_addr, "--json", NULL);
    take_addresses(&gateway);
    fwt_proc_expect(service, "attached to the gateway", CLIT_PATIENCE_MS);
    int fd = raw_dial(gateway.client_addr);
    raw_echo(fd, raw_open(fd));
    close(fd);
    clit_end(service, SIGTERM, 0);
    clit_end(gateway.proc, SIGTERM, 0);
}
END_TEST

START_TEST(the_original_spellings_are_understood)
{
    gateway_run gateway;
    gateway.proc = clit_start("gateway", "-ClientAddr", "127.0.0.1:0", "-ServerAddr=127.0.0.1:0",
                              "-ServerAuthKey", "secret", "-ClientIdleTimeout", "1m0s",
                              "-ServerIdleTimeout=30s", "-MaxPacket", "65536", "-ClientMaxConn=1",
                              "--json", NULL);
    take_addresses(&gateway);
    fwt_proc *service = start_service(&gateway, "secret");
    clit_await(service, "attached to the gateway");
    int fd = raw_dial(gateway.client_addr);
    uint32_t id = raw_open(fd);
    /* -ClientMaxConn is heard: a second one is refused; the first goes on. */
    uint8_t refusal[13];
    raw_send(fd, "09000000000000000007000000");
    ck_assert_uint_eq(raw_read(fd, refusal, sizeof refusal), sizeof refusal);
    ck_assert_uint_eq(refusal[8], 3);
    raw_echo(fd, id);
    /* -MaxPacket, too: 65537. */
    raw_send(fd, "01000100");
    ck_assert_uint_eq(raw_read(fd, refusal, 1), 0);
    close(fd);
    clit_end(service, SIGTERM, 0);
    clit_end(gateway.proc, SIGTERM, 0);
}
END_TEST

START_TEST(idle_clients_are_closed)
{
    gateway_run gateway = start_gateway("-ClientIdleTimeout=1s");
    uint64_t start = clit_now_ms();
    int fd = raw_dial(gateway.client_addr);
    uint8_t byte;
    ck_assert_uint_eq(raw_read(fd, &byte, 1), 0);
    ck_assert_uint_ge(clit_now_ms() - start, 900);
    close(fd);
    clit_end(gateway.proc, SIGTERM, 0);
}
END_TEST

START_TEST(people_and_machines_can_read_it)
{
    fwt_proc *proc = clit_start("gateway", "--client-addr", "127.0.0.1:0", "--server-addr",
                                "127.0.0.1:0", "--log-format", "json", NULL);
    const char *line = fwt_proc_expect(proc, "gateway: clients at ", CLIT_PATIENCE_MS);
    const char *servers = strstr(line, ", servers at tcp://127.0.0.1:");
    ck_assert_ptr_nonnull(servers);
    char url[80];
    snprintf(url, sizeof url, "%s", servers + strlen(", servers at "));
    int fd = raw_dial(url + 6);
    uint8_t challenge[8];
    ck_assert_uint_eq(raw_read(fd, challenge, sizeof challenge), sizeof challenge);
    raw_send(fd, "0000000000000000000000000000000000000000");
    line = fwt_proc_expect(proc, "connection closed", CLIT_PATIENCE_MS);
    ck_assert_str_eq(clit_field(line, "component"), "gateway");
    ck_assert_str_eq(clit_field(line, "side"), "server");
    ck_assert_str_ne(clit_field(line, "reason"), "(none)");
    close(fd);
    clit_end(proc, SIGTERM, 0);
}
END_TEST

START_TEST(a_wrong_key_is_logged_and_costs_nobody_else)
{
    gateway_run gateway = start_gateway(NULL);
    fwt_proc *wrong = start_service(&gateway, "wrong");
    const char *line = fwt_proc_expect(gateway.proc, "connection closed", CLIT_PATIENCE_MS);
    ck_assert_msg(strstr(line, "level=warn") && strstr(line, "side=server"), "%s", line);
    ck_assert_msg(strstr(line, fw_strerror(FW_EAUTH)) != NULL, "%s", line);
    fwt_proc *service = start_service(&gateway, "k");
    clit_await(service, "attached to the gateway");
    int fd = raw_dial(gateway.client_addr);
    raw_echo(fd, raw_open(fd));
    close(fd);
    ck_assert(!fwt_proc_printed(wrong, "attached"));
    clit_end(wrong, SIGTERM, 0);
    clit_end(service, SIGTERM, 0);
    clit_end(gateway.proc, SIGTERM, 0);
}
END_TEST

START_TEST(a_hostile_client_is_closed_and_others_go_on)
{
    gateway_run gateway = start_gateway(NULL);
    fwt_proc *service = start_service(&gateway, "k");
    clit_await(service, "attached to the gateway");
    int good = raw_dial(gateway.client_addr), bad = raw_dial(gateway.client_addr);
    uint32_t id = raw_open(good);
    raw_echo(good, id);
    uint8_t byte;
    raw_send(bad, "ffffffff");
    ck_assert_uint_eq(raw_read(bad, &byte, 1), 0);
    const char *line = fwt_proc_expect(gateway.proc, "connection closed", CLIT_PATIENCE_MS);
    ck_assert_msg(strstr(line, "level=warn") && strstr(line, "side=client"), "%s", line);
    raw_echo(good, id);
    close(bad);
    close(good);
    clit_end(service, SIGTERM, 0);
    clit_end(gateway.proc, SIGTERM, 0);
}
END_TEST

START_TEST(an_address_in_use_is_named)
{
    gateway_run gateway = start_gateway(NULL);
    const char *taken[] = {gateway.client_addr, gateway.server_addr};
    for (int i = 0; i < 2; i++) {
        clit_refused(
            clit_run("gateway", "--client-addr", taken[i], "--server-addr", "127.0.0.1:0", NULL),
            FAILED, taken[i]);
        clit_refused(
            clit_run("gateway", "--client-addr", "127.0.0.1:0", "--server-addr", taken[i], NULL),
            FAILED, taken[i]);
    }
    clit_end(gateway.proc, SIGTERM, 0);
}
END_TEST

/* ---- under load ---- */

#ifdef CLIT_GWLOAD
#define GWLOAD FWT_BIN_DIR "/gwload"

static fwt_proc *start_load_server(const gateway_run *gateway, const char *key)
{
    const char *argv[] = {GWLOAD,    "server", "--addr", gateway->server_addr,
                          "--id",    "1",      "--key",  key,
                          "--conns", "4",      NULL};
    return fwt_proc_start(argv);
}

static fwt_proc *start_load(const gateway_run *gateway)
{
    const char *argv[] = {GWLOAD,      "client", "--addr",    gateway->client_addr,
                          "--id",      "1",      "--servers", "4",
                          "--clients", "64",     "--depth",   "32",
                          "--seconds", "2",      NULL};
    return fwt_proc_start(argv);
}

/* It ends well: nothing was refused, closed, lost or changed. */
static void end_load(fwt_proc *load)
{
    const char *line = fwt_proc_expect(load, "round_trips", CLIT_PATIENCE_MS);
    ck_assert_msg(strstr(line, "\"refused\":0,\"closed\":0,\"lost\":0,\"bad\":0") != NULL, "%s",
                  line);
    ck_assert_str_eq(clit_field(line, "vconns"), "64");
    ck_assert_int_gt(atoll(clit_field(line, "round_trips")), 64 * 32);
    ck_assert_int_eq(fwt_proc_wait(load, CLIT_PATIENCE_MS), 0);
    fwt_proc_end(load);
}

START_TEST(load_passes_unharmed)
{
    gateway_run gateway = start_gateway(NULL);
    fwt_proc *servers = start_load_server(&gateway, "k");
    fwt_proc_expect(servers, "ready", CLIT_PATIENCE_MS);
    for (int i = 0; i < 4; i++)
        fwt_proc_expect(gateway.proc, "server registered", CLIT_PATIENCE_MS);
    fwt_proc *load = start_load(&gateway);
    /* In its midst others misbehave. */
    fwt_proc *wrong = start_load_server(&gateway, "wrong");
    ck_assert_int_ne(fwt_proc_wait(wrong, CLIT_PATIENCE_MS), 0);
    fwt_proc_end(wrong);
    for (int i = 0; i < 20; i++) {
        uint8_t byte;
        int fd = raw_dial(gateway.client_addr);
        raw_send(fd, "ffffffff");
        ck_assert_uint_eq(raw_read(fd, &byte, 1), 0);
        close(fd);
    }
    end_load(load);
    clit_end(servers, SIGTERM, 0);
    clit_end(gateway.proc, SIGTERM, 0);
}
END_TEST

START_TEST(it_ends_under_load)
{
    gateway_run gateway = start_gateway(NULL);
    fwt_proc *servers = start_load_server(&gateway, "k");
    for (int i = 0; i < 4; i++)
        fwt_proc_expect(gateway.proc, "server registered", CLIT_PATIENCE_MS);
    fwt_proc *load = start_load(&gateway);
    fwt_proc *service = start_service(&gateway, "k");
    clit_await(service, "attached to the gateway");
    int fd = raw_dial(gateway.client_addr);
    raw_echo(fd, raw_open(fd)); /* by now there is load */
    clit_end(gateway.proc, SIGTERM, 0);
    close(fd);
    ck_assert_int_eq(fwt_proc_wait(servers, CLIT_PATIENCE_MS), 1);
    fwt_proc_end(servers);
    fwt_proc_end(load);
    clit_end(service, SIGTERM, 0);
}
END_TEST
#endif

int main(void)
{
    Suite *suite = suite_create("gateway");
    TCase *tcase = clit_tcase(suite, "daemon", 60);
    tcase_add_test(tcase, a_service_stands_behind_it);
    tcase_add_loop_test(tcase, it_ends_with_everybody_connected, 0, 2);
    tcase_add_test(tcase, a_service_returns_to_a_new_gateway);
    tcase_add_test(tcase, the_original_spellings_are_understood);
    tcase_add_test(tcase, idle_clients_are_closed);
    tcase_add_test(tcase, people_and_machines_can_read_it);
    tcase_add_test(tcase, a_wrong_key_is_logged_and_costs_nobody_else);
    tcase_add_test(tcase, a_hostile_client_is_closed_and_others_go_on);
    tcase_add_test(tcase, an_address_in_use_is_named);
#ifdef CLIT_GWLOAD
    tcase = clit_tcase(suite, "load", 60);
    tcase_add_test(tcase, load_passes_unharmed);
    tcase_add_test(tcase, it_ends_under_load);
#endif
    return fwt_main(suite);
}
