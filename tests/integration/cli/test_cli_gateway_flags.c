/* fairway gateway in the place of the original: its options, files and signals, and ours. */
#include "clit_gateway.h"

#include <fairway/error.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FAILED = 1, USAGE = 2 };

/* ---- options ---- */

#define LOOPBACK "-ClientAddr", "127.0.0.1:0", "-ServerAddr", "127.0.0.1:0", "--json"

START_TEST(all_of_the_originals_options_are_taken)
{
    gateway_run gateway;
    gateway.proc = clit_start(
        "gateway", LOOPBACK, "-ReusePort=false", "-MaxPacket=524288", "-MemPoolType", "atom",
        "-MemPoolFactor=2", "-MemPoolMinChunk=64", "-MemPoolMaxChunk", "65536",
        "-MemPoolPageSize=1048576", "-ClientMaxConn=16", "-ClientBufferSize=2048",
        "-ClientSendChanSize=1024", "-ClientIdleTimeout=1m30s", "--ClientSnetEnable=false",
        "-ClientSnetEncrypt=false", "-ClientSnetBuffer=65536", "-ClientSnetInitTimeout=10s",
        "-ClientSnetWaitTimeout=1m0s", "--ServerAuthKey=k", "-ServerBufferSize=65536",
        "-ServerSendChanSize", "102400", "-ServerIdleTimeout=500ms", "-ServerSnetEnable=false",
        "-ServerSnetEncrypt=false", "-ServerSnetBuffer=65536", "-ServerSnetInitTimeout=10s",
        "-ServerSnetWaitTimeout=1h", NULL);
    take_addresses(&gateway);
    /* Those that would do nothing are named. */
    static const char *const named[] = {
        "MemPoolType",      "MemPoolFactor",      "MemPoolMinChunk",
        "MemPoolMaxChunk",  "MemPoolPageSize",    "ClientBufferSize",
        "ServerBufferSize", "ClientSendChanSize", "ServerSendChanSize"};
    for (size_t i = 0; i < sizeof named / sizeof *named; i++)
        clit_await(gateway.proc, clit_format("fairway: -%s: has no meaning", named[i]));
    clit_end(gateway.proc, SIGTERM, 0);
}
END_TEST

START_TEST(mistakes_are_named)
{
    static const struct {
        const char *words[4], *text;
    } cases[] = {
        {{"-ServerAuthPassword", "k"}, "ServerAuthPassword"},
        {{"-MemPoolType", "none"}, "MemPoolType"},
        {{"-MemPoolFactor", "two"}, "MemPoolFactor"},
        {{"-ServerSendChanSize", "-1"}, "ServerSendChanSize"},
        {{"-MaxPacket", "0"}, "limit of 0"},
        {{"-MaxPacket", "3"}, "option"},
        {{"-ClientIdleTimeout", "30"}, "client-idle-timeout"},
        {{"-ClientSnetEnable", "-ReusePort"}, "reuse-port"},
        {{"-ReusePort", "-ClientAddr", "tcp://127.0.0.1:0"}, "tcp://127.0.0.1:0"},
        {{"-ClientSnetEnable", "-ClientAddr=tcp://127.0.0.1:0"}, "tcp://127.0.0.1:0"},
        {{"-ClientSnetEnable", "--snet-flavour", "other"}, "other"},
        {{"-ClientSnetBuffer", "0"}, "client-snet-buffer"},
        {{"-ServerSnetInitTimeout", "0"}, "server-snet-init-timeout"},
        {{"--max-clients", "0"}, "limit of 0"},
        {{"--client-listen", "127.0.0.1:0"}, "127.0.0.1:0"},
        {{"--client-listen", "udp://127.0.0.1:0"}, "udp://127.0.0.1:0"},
        {{"--server-listen", "tcp://127.0.0.1:0?colour=red"}, "colour"},
    };
    setenv("FAIRWAY_SERVER_AUTH_KEY", "k", 1); /* nothing else to be said on stderr */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        clit_refused(clit_run("gateway", "--log-level=error", cases[i].words[0], cases[i].words[1],
                              cases[i].words[2], NULL),
                     USAGE, cases[i].text);
}
END_TEST

START_TEST(the_environment_gives_defaults)
{
    gateway_run gateway;
    setenv("FAIRWAY_CLIENTADDR", "127.0.0.1:0", 1); /* either spelling */
    setenv("FAIRWAY_SERVER_ADDR", "127.0.0.1:0", 1);
    setenv("FAIRWAY_SERVERAUTHKEY", "k", 1);
    setenv("FAIRWAY_MAXPACKET", "100", 1);
    setenv("FAIRWAY_CLIENT_MAX_CONN", "1", 1);
    gateway.proc = clit_start("gateway", "--json", "-MaxPacket", "64", NULL);
    take_addresses(&gateway);
    fwt_proc *service = start_service(&gateway, "k");
    clit_await(service, "attached to the gateway");
    int fd = raw_dial(gateway.client_addr);
    raw_echo(fd, raw_open(fd));
    uint8_t refusal[13];
    raw_send(fd, "09000000000000000007000000");
    ck_assert_uint_eq(raw_read(fd, refusal, sizeof refusal), sizeof refusal);
    ck_assert_uint_eq(refusal[8], 3);
    raw_send(fd, "41000000"); /* 65: the command line's 64 stands */
    ck_assert_uint_eq(raw_read(fd, refusal, 1), 0);
    close(fd);
    clit_end(service, SIGTERM, 0);
    clit_end(gateway.proc, SIGTERM, 0);
}
END_TEST

START_TEST(md5_is_off_unless_it_has_a_key)
{
    gateway_run gateway;
    gateway.proc = clit_start("gateway", LOOPBACK, "--server-hmac-key", "strong",
                              _i ? "-ServerAuthKey=k" : "--max-servers=10", NULL);
    take_addresses(&gateway);
    fwt_proc *service = start_service(&gateway, "k");
    if (_i) {
        clit_await(service, "attached to the gateway");
    } else {
        const char *line = fwt_proc_expect(gateway.proc, "connection closed", CLIT_PATIENCE_MS);
        ck_assert_msg(strstr(line, fw_strerror(FW_EAUTH)) != NULL, "%s", line);
    }
    clit_end(service, SIGTERM, 0);
    clit_end(gateway.proc, SIGTERM, 0);
}
END_TEST

START_TEST(several_processes_share_an_address)
{
    gateway_run first = start_gateway("-ReusePort"), second;
    second.proc = clit_start("gateway", "-ClientAddr", first.client_addr, "-ServerAddr",
                             first.server_addr, "-ReusePort", "--json", NULL);
    take_addresses(&second);
    ck_assert_str_eq(first.client_addr, second.client_addr);
    clit_end(first.proc, SIGTERM, 0);
    fwt_proc *service = start_service(&second, "k");
    clit_await(service, "attached to the gateway");
    int fd = raw_dial(second.client_addr);
    raw_echo(fd, raw_open(fd));
    close(fd);
    clit_end(service, SIGTERM, 0);
    clit_end(second.proc, SIGTERM, 0);
}
END_TEST

/* ---- listeners ---- */

/* "tcp://127.0.0.1:" of a URL, and the port behind it. */
static void take_url(const cJSON *urls, int index, const char *begin, char ret_addr[80])
{
    const char *url = cJSON_GetStringValue(cJSON_GetArrayItem(urls, index));
    ck_assert_ptr_nonnull(url);
    ck_assert_msg(!strncmp(url, begin, strlen(begin)), "%s", url);
    snprintf(ret_addr, 80, "%s", strstr(url, "://") + 3);
}

START_TEST(it_listens_at_many_places)
{
    gateway_run gateway;
    char addr[5][80], unix_url[300];
    const char *dir = fwt_tmpdir();
    snprintf(unix_url, sizeof unix_url, "unix:%s/c", dir);
    setenv("FAIRWAY_SERVER_AUTH_KEY", "k", 1);
    gateway.proc = clit_start("gateway", "--client-listen", "tcp://127.0.0.1:0", "--client-listen",
                              unix_url, "--client-listen", "snet://127.0.0.1:0", "--client-listen",
                              "tcp://127.0.0.1:0?proxy=1", "--server-listen", "tcp://127.0.0.1:0",
                              "--server-listen", "snet://127.0.0.1:0?encrypt=1", "--json",
                              "--max-clients-per-address", "1", "--command-file",
                              clit_format("%s/gw.cmd", dir), NULL);
    cJSON *json = clit_json(fwt_proc_expect(gateway.proc, "client_url", CLIT_PATIENCE_MS));
    const cJSON *clients = cJSON_GetObjectItem(json, "client_urls"),
                *servers = cJSON_GetObjectItem(json, "server_urls");
    ck_assert_int_eq(cJSON_GetArraySize(clients), 4);
    ck_assert_int_eq(cJSON_GetArraySize(servers), 2);
    take_url(clients, 0, "tcp://127.0.0.1:", addr[0]);
    take_url(clients, 2, "snet://127.0.0.1:", addr[1]);
    take_url(clients, 3, "tcp://127.0.0.1:", addr[2]);
    take_url(servers, 0, "tcp://127.0.0.1:", addr[3]);
    take_url(servers, 1, "snet://127.0.0.1:", addr[4]);
    cJSON_Delete(json);
    setenv("FAIRWAY_GATEWAY_KEY", "k", 1);
    fwt_proc *service = clit_start(
        "--store", "mem:", "serve", "echo", "--drain-timeout=0", "--id", "behind", "--gateway",
        clit_format("snet://%s?encrypt=1", addr[4]), "--gateway-id", "7", NULL);
    clit_await(service, "attached to the gateway");
    int direct = raw_dial(addr[0]);
    raw_echo(direct, raw_open(direct));
    /* Behind a proxy, which tells the client's address: that is the one that counts. */
    int proxied[2];
    for (int i = 0; i < 2; i++) {
        const char *header = clit_format("PROXY TCP4 192.0.2.%d 192.0.2.9 4000 5000\r\n", i + 1);
        proxied[i] = raw_dial(addr[2]);
        ck_assert_int_eq(write(proxied[i], header, strlen(header)), (ssize_t)strlen(header));
        raw_echo(proxied[i], raw_open(proxied[i]));
    }
    uint8_t byte;
    int second = raw_dial(addr[0]); /* the address has its one connection */
    ck_assert_uint_eq(raw_read(second, &byte, 1), 0);
    close(second);
    close(direct);
    close(proxied[0]);
    close(proxied[1]);
    clit_end(service, SIGTERM, 0);
    clit_end(gateway.proc, SIGTERM, 0);
}
END_TEST

/* Which flavours a service dials with, and what the gateway is given. */
static const struct {
    const char *params, *encrypt, *flavour;
} snets[] = {
    {"flavour=uniway", "-ServerSnetEncrypt=false", "--snet-flavour=auto"},
    {"flavour=fastway&encrypt=1", "-ServerSnetEncrypt", "--snet-flavour=auto"},
    {"flavour=uniway&encrypt=1", "-ServerSnetEncrypt", "--snet-flavour=uniway"},
    {"flavour=fastway", "-ServerSnetEncrypt=0", "--snet-flavour=fastway"},
};

START_TEST(snet_is_below_if_wanted)
{
    setenv("FAIRWAY_SERVER_AUTH_KEY", "k", 1);
    setenv("FAIRWAY_GATEWAY_KEY", "k", 1);
    fwt_proc *proc = clit_start("gateway", LOOPBACK, "-ServerSnetEnable", snets[_i].encrypt,
                                snets[_i].flavour, "-ServerSnetBuffer", "4096", NULL);
    const char *line = fwt_proc_expect(proc, "server_url", CLIT_PATIENCE_MS);
    char servers[100], clients[100];
    snprintf(servers, sizeof servers, "%s", clit_field(line, "server_url"));
    snprintf(clients, sizeof clients, "%s", clit_field(line, "client_url"));
    ck_assert_int_eq(strncmp(servers, "snet://", 7), 0);
    fwt_proc *service = clit_start(
        "--store", "mem:", "serve", "echo", "--drain-timeout=0", "--id", "behind", "--gateway",
        clit_format("%s?%s", servers, snets[_i].params), "--gateway-id", "7", NULL);
    clit_await(service, "attached to the gateway");
    int fd = raw_dial(clients + 6);
    raw_echo(fd, raw_open(fd));
    close(fd);
    clit_end(service, SIGTERM, 0);
    clit_end(proc, SIGTERM, 0);
}
END_TEST

/* What servers may come in by besides; encrypted ones with a certificate. */
static const char *const doors[] = {"tls://127.0.0.1:0", "kcps://127.0.0.1:0",
#ifdef CLIT_WS
                                    "ws://127.0.0.1:0", "wss://127.0.0.1:0"
#endif
};

START_TEST(servers_come_in_by_other_transports)
{
    char dir[300];
    snprintf(dir, sizeof dir, "%s", fwt_tmpdir());
    bool tls = strstr(doors[_i], "tls:") || strstr(doors[_i], "wss:");
    if (tls) {
        fwt_certificate(dir, "ca", NULL, NULL, 30);
        fwt_certificate(dir, "server", "ca", "IP:127.0.0.1", 30);
    }
    setenv("FAIRWAY_SERVER_AUTH_KEY", "k", 1);
    setenv("FAIRWAY_GATEWAY_KEY", "k", 1);
    fwt_proc *proc =
        clit_start("gateway", "--client-addr", "127.0.0.1:0", "--server-listen", doors[_i],
                   "--json", tls ? "--tls-cert" : NULL, clit_format("%s/server.pem", dir),
                   "--tls-key", clit_format("%s/server.key", dir), NULL);
    const char *line = fwt_proc_expect(proc, "server_url", CLIT_PATIENCE_MS);
    char servers[100], clients[100];
    snprintf(servers, sizeof servers, "%s", clit_field(line, "server_url"));
    snprintf(clients, sizeof clients, "%s", clit_field(line, "client_url"));
    ck_assert_int_eq(strncmp(servers, doors[_i], strcspn(doors[_i], ":")), 0);
    const char *query = tls ? clit_format("?ca=%s/ca.pem", dir) : "";
    fwt_proc *service =
        clit_start("--store", "mem:", "serve", "echo", "--drain-timeout=0", "--id", "behind",
                   "--gateway", clit_format("%s%s", servers, query), "--gateway-id", "7", NULL);
    clit_await(service, "attached to the gateway");
    int fd = raw_dial(clients + 6);
    raw_echo(fd, raw_open(fd));
    close(fd);
    clit_end(service, SIGTERM, 0);
    clit_end(proc, SIGTERM, 0);
}
END_TEST

/* ---- files and signals ---- */

START_TEST(the_pid_file_is_there_while_it_runs)
{
    const char *path = clit_format("%s/fastway.pid", fwt_tmpdir());
    gateway_run gateway = start_gateway(clit_format("--pid-file=%s", path));
    char *text = fwt_read_file(path);
    ck_assert_int_gt(atol(text), 1);
    ck_assert_int_eq(kill((pid_t)atol(text), 0), 0);
    ck_assert_ptr_null(strchr(text, '\n')); /* as the original writes it */
    free(text);
    if (_i) { /* of another one by now */
        FILE *file = fopen(path, "w");
        fputs("1", file);
        fclose(file);
    }
    clit_end(gateway.proc, SIGTERM, 0);
    ck_assert_int_eq(access(path, F_OK), _i ? 0 : -1);
}
END_TEST

START_TEST(a_pid_file_that_cannot_be_ends_it)
{
    setenv("FAIRWAY_SERVER_AUTH_KEY", "k", 1);
    const clit_result *result =
        clit_run("gateway", "--pid-file", "/nowhere/at/all.pid", "--client-addr", "127.0.0.1:0",
                 "--server-addr", "127.0.0.1:0", NULL);
    clit_refused(result, FAILED, "/nowhere/at/all.pid");
}
END_TEST

static const char *cmd_dir;

static void command(const gateway_run *gateway, const char *text, const char *answer)
{
    FILE *file = fopen(clit_format("%s/fastway.cmd", cmd_dir), "w");
    fputs(text, file);
    fclose(file);
    fwt_proc_signal(gateway->proc, SIGUSR1);
    fwt_proc_expect(gateway->proc, answer, CLIT_PATIENCE_MS);
}

START_TEST(commands_come_by_file)
{
    cmd_dir = fwt_tmpdir();
    gateway_run gateway = start_gateway(clit_format("--command-file=%s/fastway.cmd", cmd_dir));
    fwt_proc_signal(gateway.proc, SIGUSR1); /* there is no file */
    fwt_proc_expect(gateway.proc, "No such file", CLIT_PATIENCE_MS);
    int fd = raw_dial(gateway.client_addr);
    raw_send(fd, "050000000000000005");
    uint8_t pong[9];
    ck_assert_uint_eq(raw_read(fd, pong, sizeof pong), sizeof pong);
    command(&gateway, "help\n", "gateway: help: state:");
    command(&gateway, "  state \r\n", "gateway: state: written to");
    char *state = fwt_read_file(clit_format("%s/fastway.state.json", cmd_dir));
    ck_assert_uint_eq(clit_lines(state), 2);
    ck_assert_str_eq(clit_field(state, "clients"), "1");
    ck_assert_str_eq(clit_field(state, "pings"), "1");
    const char *second = strchr(state, '\n') + 1;
    ck_assert_str_eq(clit_field(second, "side"), "client");
    ck_assert_str_eq(clit_field(second, "id"), "1");
    free(state);
    command(&gateway, "stats", "\"clients\":1");
    /* The original's; it wants the number, ours does not. */
    static const char *const lookups[] = {"goroutine", "heap", "threadcreate"};
    for (int i = 0; i < 6; i++) {
        command(&gateway, clit_format("lookup %s%s", lookups[i / 2], i % 2 ? " 1" : ""),
                "written to");
        const char *path = clit_format("%s/fastway.%s.prof", cmd_dir, lookups[i / 2]);
        char *text = fwt_read_file(path);
        ck_assert_uint_gt(strlen(text), 0);
        free(text);
        unlink(path);
    }
    command(&gateway, "lookup gc 1", "bytes in use");
    command(&gateway, "cpuprof start", "perf record");
    command(&gateway, "cpuprof stop", "perf record"); /* as often as one likes */
    command(&gateway, "lookup block 1", "perf record");
    command(&gateway, "cpuprof", "unsupported");
    command(&gateway, "lookup heap many", "unsupported");
    command(&gateway, "lookup", "unsupported");
    command(&gateway, "rm -rf /\nhelp", "unsupported");
    command(&gateway, "", "unsupported");
    close(fd);
    clit_end(gateway.proc, SIGTERM, 0);
}
END_TEST

START_TEST(a_drain_lets_conversations_end)
{
    gateway_run gateway = start_gateway(_i ? "--drain-timeout=300ms" : "--drain-timeout=50s");
    fwt_proc *service = start_service(&gateway, "k");
    clit_await(service, "attached to the gateway");
    int fd = raw_dial(gateway.client_addr);
    uint32_t id = raw_open(fd);
    fwt_proc_signal(gateway.proc, SIGTERM);
    if (!_i) {
        uint8_t answer[13], close_it[13] = {9, 0, 0, 0, 0, 0, 0, 0, 4};
        do { /* until the signal is heard: dials are refused then, talking goes on */
            raw_send(fd, "09000000000000000007000000");
            ck_assert_uint_eq(raw_read(fd, answer, sizeof answer), sizeof answer);
            if (answer[8] != 3) { /* accepted, before; its rest, and close it again */
                ck_assert_uint_eq(raw_read(fd, close_it, 4), 4);
                memcpy(close_it, (uint8_t[]){9, 0, 0, 0}, 4);
                memcpy(close_it + 9, answer + 9, 4);
                ck_assert_int_eq(write(fd, close_it, sizeof close_it), sizeof close_it);
                ck_assert_uint_eq(raw_read(fd, close_it, sizeof close_it), sizeof close_it);
            }
        } while (answer[8] != 3);
        raw_echo(fd, id);
        memcpy(close_it + 9, &id, sizeof id);
        ck_assert_int_eq(write(fd, close_it, sizeof close_it), sizeof close_it);
    }
    ck_assert_int_eq(fwt_proc_wait(gateway.proc, CLIT_PATIENCE_MS), 0);
    fwt_proc_end(gateway.proc);
    close(fd);
    clit_end(service, SIGTERM, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gateway, as the original");
    TCase *tcase = clit_tcase(suite, "options", 90);
    tcase_add_test(tcase, all_of_the_originals_options_are_taken);
    tcase_add_test(tcase, mistakes_are_named);
    tcase_add_test(tcase, the_environment_gives_defaults);
    tcase_add_loop_test(tcase, md5_is_off_unless_it_has_a_key, 0, 2);
    tcase_add_test(tcase, several_processes_share_an_address);
    tcase = clit_tcase(suite, "listeners", 90);
    tcase_add_test(tcase, it_listens_at_many_places);
    tcase_add_loop_test(tcase, snet_is_below_if_wanted, 0, (int)(sizeof snets / sizeof *snets));
    tcase_add_loop_test(tcase, servers_come_in_by_other_transports, 0,
                        (int)(sizeof doors / sizeof *doors));
    tcase = clit_tcase(suite, "signals", 90);
    tcase_add_loop_test(tcase, the_pid_file_is_there_while_it_runs, 0, 2);
    tcase_add_test(tcase, a_pid_file_that_cannot_be_ends_it);
    tcase_add_test(tcase, commands_come_by_file);
    tcase_add_loop_test(tcase, a_drain_lets_conversations_end, 0, 2);
    return fwt_main(suite);
}
