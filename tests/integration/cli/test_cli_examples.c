/* The examples do what their READMEs say. */
#include "clit.h"

#include <fairway/rpc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Starts `example_NAME ARG...` and waits until it listens; *ret_url is static. */
static fwt_proc *start(const char *name, const char *const *args, const char **ret_url)
{
    static char path[600], url[400];
    const char *argv[8] = {path};
    snprintf(path, sizeof path, "%s/example_%s", FWT_BIN_DIR, name);
    for (size_t i = 0; args[i]; i++)
        argv[i + 1] = args[i];
    fwt_proc *proc = fwt_proc_start(argv);
    const char *line = fwt_proc_expect(proc, "listening on ", CLIT_PATIENCE_MS);
    snprintf(url, sizeof url, "%s", strstr(line, "listening on ") + strlen("listening on "));
    url[strcspn(url, "\r\n")] = '\0';
    *ret_url = url;
    return proc;
}
#define start_example(name, ret_url, ...)                                                          \
    start((name), (const char *const[]){__VA_ARGS__, NULL}, (ret_url))

/* Runs `example_NAME ARGS` to its end, the arguments as the shell has them. */
static const clit_result *run(const char *name, const char *args)
{
    return clit_shell(clit_format("%s/example_%s %s", FWT_BIN_DIR, name, args));
}

/* ---- service and client ---- */

START_TEST(a_client_finds_a_service)
{
    const char *store = clit_lmdb_url();
    char path[600];
    snprintf(path, sizeof path, "%s/example_service", FWT_BIN_DIR);
    fwt_proc *service = fwt_proc_start((const char *const[]){path, store, NULL});
    fwt_proc *watch = clit_start("--store", store, "watch", "greeter", NULL);
    clit_await(watch, "+ one");
    fwt_proc_end(watch);
    const clit_result *result = run("client", clit_format("%s world", store));
    ck_assert_str_eq(clit_done(result, __FILE__, __LINE__), "one says \"hello, world\"\n");
    fwt_proc_end(service);
}
END_TEST

/* ---- chat ---- */

#ifdef CLIT_WS
struct guest {
    fw_session *session;
    bool open, closed, heard;
    const char *awaited; /* heard: a line had this in it */
};

static void on_open(fw_session *session, void *arg)
{
    (void)session;
    ((struct guest *)arg)->open = true;
}

static void on_line(fw_session *session, const uint8_t *data, size_t len, void *arg)
{
    struct guest *guest = arg;
    char line[700];
    (void)session;
    ck_assert_uint_lt(len, sizeof line);
    memcpy(line, data, len);
    line[len] = '\0';
    if (strstr(line, guest->awaited))
        guest->heard = true;
}

static void on_closed(fw_session *session, int reason, void *arg)
{
    (void)session;
    (void)reason;
    ((struct guest *)arg)->closed = true;
}

static void come(struct guest *guest, const char *url)
{
    fw_session_options options = {
        .framing = {.messages = true},
        .dial_timeout_ms = CLIT_PATIENCE_MS,
        .events = {.on_open = on_open, .on_frame = on_line, .on_closed = on_closed},
        .arg = guest};
    FWT_OK(fw_session_dial(fwt_loop, url, &options, &guest->session));
    fwt_run_until(&guest->open, CLIT_PATIENCE_MS);
}

static void hears(struct guest *guest)
{
    fwt_run_until(&guest->heard, CLIT_PATIENCE_MS);
    guest->heard = false;
}

START_TEST(who_chats_is_heard_by_the_others)
{
    const char *url;
    fwt_proc *proc = start_example("chat", &url, "ws://127.0.0.1:0/chat?text=1");
    struct guest first = {.awaited = "has come"}, second = {.awaited = ": hello"};
    come(&first, url);
    come(&second, url);
    hears(&first); /* of the second */
    FWT_OK(fw_session_send(first.session, "hello", 5));
    hears(&second);
    first.awaited = "has left";
    fw_session_close(second.session, FW_OK);
    hears(&first);
    fw_session_close(first.session, FW_OK);
    fwt_run_until(&first.closed, CLIT_PATIENCE_MS);
    fwt_run_until(&second.closed, CLIT_PATIENCE_MS);
    fwt_proc_end(proc);
}
END_TEST
#endif

/* ---- pinned ---- */

START_TEST(a_pinned_server_is_who_has_the_key)
{
    const char *url;
    char dir[300];
    snprintf(dir, sizeof dir, "%s", fwt_tmpdir());
    clit_done(clit_shell(clit_format("openssl genpkey -algorithm X25519 -out %s/server.key", dir)),
              __FILE__, __LINE__);
    const clit_result *result =
        clit_shell(clit_format("openssl pkey -in %s/server.key -pubout -outform DER | tail -c 32 | "
                               "od -An -v -tx1 | tr -d ' \\n'",
                               dir));
    char key[65];
    snprintf(key, sizeof key, "%s", clit_done(result, __FILE__, __LINE__));
    fwt_proc *proc = start_example("pinned", &url, "listen",
                                   clit_format("kcps://127.0.0.1:0?key=%s/server.key", dir));
    result = run("pinned", clit_format("dial '%s?server_key=%s' hello", url, key));
    ck_assert_str_eq(clit_done(result, __FILE__, __LINE__), "hello\n");
    key[0] = key[0] == '0' ? '1' : '0'; /* another one */
    result = run("pinned", clit_format("dial '%s?server_key=%s' hello", url, key));
    ck_assert_int_eq(result->code, 1);
    ck_assert_str_eq(result->out, "");
    fwt_proc_end(proc);
}
END_TEST

/* ---- tls ---- */

static int ping(const char *url, const char *ca)
{
    return clit_run("ping", url, "--count", "1", "--timeout", "30s", "--tls-ca", ca, NULL)->code;
}

START_TEST(a_certificate_is_renewed)
{
    const char *url;
    char dir[300], one[400], two[400];
    snprintf(dir, sizeof dir, "%s", fwt_tmpdir());
    snprintf(one, sizeof one, "%s/one.pem", dir);
    snprintf(two, sizeof two, "%s/two.pem", dir);
    fwt_certificate(dir, "one", NULL, NULL, 30);
    fwt_certificate(dir, "two", NULL, NULL, 30);
    fwt_certificate(dir, "server", "one", "IP:127.0.0.1", 30);
    fwt_proc *proc =
        start_example("tls", &url, "tls://127.0.0.1:0", clit_format("%s/server.pem", dir),
                      clit_format("%s/server.key", dir));
    ck_assert_int_eq(ping(url, one), 0);
    ck_assert_int_eq(ping(url, two), 1);

    fwt_certificate(dir, "server", "two", "IP:127.0.0.1", 30);
    fwt_proc_signal(proc, SIGHUP);
    fwt_proc_expect(proc, "reloaded", CLIT_PATIENCE_MS);
    ck_assert_int_eq(ping(url, two), 0);
    ck_assert_int_eq(ping(url, one), 1);

    clit_done(clit_shell(clit_format("echo nothing > %s/server.pem", dir)), __FILE__, __LINE__);
    fwt_proc_signal(proc, SIGHUP);
    fwt_proc_expect(proc, "the old certificate stays", CLIT_PATIENCE_MS);
    ck_assert_int_eq(ping(url, two), 0);
    fwt_proc_end(proc);
}
END_TEST

/* ---- sproto ---- */

START_TEST(a_call_in_sproto)
{
    const char *url;
    fwt_proc *proc = start_example("sproto", &url, "tcp://127.0.0.1:0");
    ck_assert_str_eq(clit_done(run("sproto", clit_format("%s world", url)), __FILE__, __LINE__),
                     "{\"text\":\"hello, world\"}\n");
    fwt_proc_end(proc);
    const clit_result *result = run("sproto", clit_format("%s world", url));
    ck_assert_int_eq(result->code, 1); /* nobody is there */
    ck_assert_str_eq(result->out, "");
}
END_TEST

/* ---- pool ---- */

struct lines {
    bool done;
    int status;
    char text[100];
};

static void on_lines(const fw_rpc_result *result, void *arg)
{
    struct lines *lines = arg;
    lines->done = true;
    lines->status = result->status;
    fw_slice text = result->status ? (fw_slice){result->text, strlen(result->text)} : result->body;
    snprintf(lines->text, sizeof lines->text, "%.*s", (int)text.len, (const char *)text.data);
}

static void count(fw_rpc *rpc, const char *path, int status, const char *text)
{
    struct lines lines = {false, 0, ""};
    fw_rpc_message message = {
        .method = "lines", .body = {path, strlen(path)}, .timeout_ms = CLIT_PATIENCE_MS};
    FWT_OK(fw_rpc_call(rpc, &message, on_lines, &lines, NULL));
    fwt_run_until(&lines.done, CLIT_PATIENCE_MS);
    ck_assert_int_eq(lines.status, status);
    ck_assert_str_eq(lines.text, text);
}

static void on_rpc_closed(fw_rpc *rpc, int reason, void *arg)
{
    (void)rpc;
    (void)reason;
    *(bool *)arg = true;
}

START_TEST(a_handler_waits_on_a_thread)
{
    const char *url;
    bool closed = false;
    fwt_proc *proc = start_example("pool", &url, "tcp://127.0.0.1:0");
    fw_rpc_options options = {
        .dial_timeout_ms = CLIT_PATIENCE_MS, .on_closed = on_rpc_closed, .arg = &closed};
    fw_rpc *rpc;
    FWT_OK(fw_rpc_dial(fwt_loop, url, &options, &rpc));
    const char *path = clit_format("%s/three", fwt_tmpdir());
    clit_done(clit_shell(clit_format("printf '1\\n2\\n3\\n' > %s", path)), __FILE__, __LINE__);
    count(rpc, path, FW_OK, "3");
    count(rpc, "/no/such/file", FW_EREMOTE, "cannot be read");
    fw_rpc_close(rpc);
    fwt_run_until(&closed, CLIT_PATIENCE_MS);
    fwt_proc_end(proc);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cli examples");
    TCase *programs = clit_tcase(suite, "programs", 240);
    tcase_add_test(programs, a_client_finds_a_service);
    tcase_add_test(programs, a_pinned_server_is_who_has_the_key);
    tcase_add_test(programs, a_certificate_is_renewed);
    tcase_add_test(programs, a_call_in_sproto);
    TCase *clients = fwt_tcase(suite, "clients", 240);
#ifdef CLIT_WS
    tcase_add_test(clients, who_chats_is_heard_by_the_others);
#endif
    tcase_add_test(clients, a_handler_waits_on_a_thread);
    return fwt_main(suite);
}
