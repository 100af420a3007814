/*
 * A real browser: headless Chromium opens page.html, which speaks with our listeners on ws and wss
 * and sends what it found in a last message.
 */
#include <fairway/transport.h>
#include <fwt.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "transport/ws/ws.h"

#define WAIT_MS 90000
#define CHECKS  24

typedef struct ws_site {
    fw_listener *listener;
    size_t conns;
    bool text, closed;
} ws_site;

static char *report;
static bool reported;

static void on_data(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    const ws_site *site = arg;
    if (len > 7 && !memcmp(data, "REPORT\n", 7)) {
        ck_assert(fwi_ws_is_text(conn));
        report = strndup((const char *)data + 7, len - 7);
        reported = true;
    } else if (len == 8 && !memcmp(data, "close me", 8)) {
        fw_conn_close(conn, FW_EFRAMESIZE);
    } else {
        ck_assert(fwi_ws_is_text(conn) == site->text);
        FWT_OK(fw_conn_write(conn, data, len));
    }
}

static void on_conn_closed(fw_conn *conn, int reason, void *arg)
{
    (void)conn;
    (void)reason;
    ((ws_site *)arg)->conns--;
}

static void on_accept(fw_listener *listener, fw_conn *conn, void *arg)
{
    (void)listener;
    static const fw_conn_events events = {.on_data = on_data, .on_closed = on_conn_closed};
    ((ws_site *)arg)->conns++;
    fw_conn_set_events(conn, &events, arg);
}

static void on_listener_closed(fw_listener *listener, void *arg)
{
    (void)listener;
    ((ws_site *)arg)->closed = true;
}

enum { BYTES, TEXT, DEFLATE, ORIGIN, SITES };
static const char *const names[SITES] = {"bytes", "text", "deflate", "origin"};
static const char *const params[SITES] = {"ping=1", "text=1", "deflate=1&protocol=chat",
                                          "origin=https%3A%2F%2Felsewhere"};

static void listen_at(ws_site *site, int which, bool secure, const char *dir)
{
    char url[900];
    int len = snprintf(url, sizeof url, "%s://127.0.0.1:0/%s?%s", secure ? "wss" : "ws",
                       names[which], params[which]);
    if (secure)
        snprintf(url + len, sizeof url - (size_t)len, "&cert=%s/server.pem&key=%s/server.key", dir,
                 dir);
    fw_listener_options options = {
        .messages = true, .on_accept = on_accept, .on_closed = on_listener_closed, .arg = site};
    *site = (ws_site){.text = which == TEXT};
    FWT_OK(fw_listener_new(fwt_loop, url, &options, &site->listener));
}

static void write_page(const char *path, const ws_site sites[2][SITES])
{
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fprintf(file, "<script>const URLS = {");
    for (int secure = 0; secure < 2; secure++) {
        fprintf(file, "%s: {", secure ? "wss" : "ws");
        for (int i = 0; i < SITES; i++)
            fprintf(file, "%s: '%s',", names[i], fw_listener_url(sites[secure][i].listener));
        fprintf(file, "},");
    }
    char *page = fwt_read_file(fwt_source_path("integration/ws/page.html"));
    fprintf(file, "};</script>\n%s", page);
    free(page);
    fclose(file);
}

START_TEST(a_browser)
{
    ws_site sites[2][SITES];
    char dir[200], path[300], profile[300], page[400];
    snprintf(dir, sizeof dir, "%s", fwt_tmpdir());
    fwt_certificate(dir, "ca", NULL, NULL, 30);
    fwt_certificate(dir, "server", "ca", "IP:127.0.0.1", 30);
    for (int secure = 0; secure < 2; secure++)
        for (int i = 0; i < SITES; i++)
            listen_at(&sites[secure][i], i, secure, dir);
    snprintf(path, sizeof path, "%s/page.html", dir);
    write_page(path, sites);
    snprintf(page, sizeof page, "file://%s", path);
    snprintf(profile, sizeof profile, "--user-data-dir=%s/profile", dir);
    const char *argv[] = {"chromium",
                          "--headless",
                          "--disable-gpu",
                          "--disable-dev-shm-usage",
                          "--disable-background-networking",
                          "--ignore-certificate-errors",
                          "--no-first-run",
                          profile,
                          page,
                          geteuid() ? NULL : "--no-sandbox", /* which root needs */
                          NULL};
    fwt_proc *proc = fwt_proc_start(argv);
    fwt_run_until(&reported, WAIT_MS);
    printf("%s\n", report);
    ck_assert_ptr_null(strstr(report, "FAILED"));
    size_t lines = 0;
    for (const char *p = report; (p = strstr(p, "ok ")); p++)
        lines++;
    ck_assert_uint_eq(lines, CHECKS);
    free(report);
    fwt_proc_signal(proc, SIGTERM);
    for (int secure = 0; secure < 2; secure++)
        for (int i = 0; i < SITES; i++) {
            fw_listener_close(sites[secure][i].listener);
            fwt_run_until(&sites[secure][i].closed, WAIT_MS);
        }
    for (int i = 0; sites[0][BYTES].conns && i < WAIT_MS / 10; i++)
        fwt_run_for(10); /* the one that reported ends with the browser */
    ck_assert_uint_eq(sites[0][BYTES].conns, 0);
    fwt_proc_end(proc);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ws browser");
    tcase_add_test(fwt_tcase(suite, "browser", 100), a_browser);
    return fwt_main(suite);
}
