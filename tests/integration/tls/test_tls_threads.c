/* One fw_tls of each kind for the loops of several threads, and reloads meanwhile. */
#include "tlst.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define THREADS      3
#define DIALS        60
#define LEAST_RELOAD 20

static fw_tls *of_server, *of_client;
static atomic_uint finished;

/* A thread's loop with a listener, and one connection after the other to it. */
typedef struct place {
    fw_loop *loop;
    fw_listener *listener;
    size_t done, resumed;
    int failure;
} place;

static void dial(place *here);

static void on_echo(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    int err = fw_conn_write(conn, data, len);
    if (err)
        ((place *)arg)->failure = err;
}

static const fw_conn_events server_events = {.on_data = on_echo};

static void on_accept(fw_listener *listener, fw_conn *conn, void *arg)
{
    (void)listener;
    fw_conn_set_events(conn, &server_events, arg);
}

static void on_data(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    (void)data;
    place *here = arg;
    if (len != 5)
        here->failure = FW_EPROTOCOL;
    here->resumed += fw_tls_resumed(conn);
    fw_conn_close(conn, FW_ECANCELED);
}

static void on_closed(fw_conn *conn, int reason, void *arg)
{
    (void)conn;
    place *here = arg;
    if (reason != FW_ECANCELED)
        here->failure = reason;
    if (++here->done < DIALS && !here->failure)
        dial(here);
    else
        fw_listener_close(here->listener);
}

static void on_open(fw_conn *conn, void *arg)
{
    int err = fw_conn_write(conn, "hello", 5);
    if (err)
        ((place *)arg)->failure = err;
}

static void dial(place *here)
{
    fw_conn_options options = {
        .tls = of_client,
        .dial_timeout_ms = TLST_WAIT_MS,
        .events = {.on_open = on_open, .on_data = on_data, .on_closed = on_closed},
        .arg = here};
    fw_conn *conn;
    int err = fw_conn_dial(here->loop, fw_listener_url(here->listener), &options, &conn);
    if (err) {
        here->failure = err;
        fw_listener_close(here->listener);
    }
}

static void *run(void *arg)
{
    place *here = arg;
    fw_listener_options options = {.tls = of_server, .on_accept = on_accept, .arg = here};
    here->failure = fw_loop_new(&here->loop);
    if (!here->failure)
        here->failure = fw_listener_new(here->loop, "tls://127.0.0.1:0", &options, &here->listener);
    if (!here->failure) {
        dial(here);
        fw_loop_run(here->loop);
        here->failure = here->failure ? here->failure : fw_loop_close(here->loop);
    }
    atomic_fetch_add(&finished, 1);
    return NULL;
}

START_TEST(threads_share_objects)
{
    pthread_t threads[THREADS];
    place places[THREADS] = {{.loop = NULL}};
    FWT_OK(fw_tls_new(&(fw_tls_options){.cacert = tlst_file("ca.pem")}, &of_client));
    FWT_OK(fw_tls_new(&(fw_tls_options){.server = true,
                                        .cert = tlst_file("server.pem"),
                                        .key = tlst_file("server.key")},
                      &of_server));
    for (size_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run, &places[i]), 0);
    for (unsigned i = 0; i < LEAST_RELOAD || atomic_load(&finished) < THREADS; i++) {
        FWT_OK(fw_tls_reload(i % 2 ? of_server : of_client, NULL, 0));
        uv_sleep(5);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        FWT_OK(places[i].failure);
        ck_assert_uint_eq(places[i].done, DIALS);
    }
    fw_tls_release(of_client);
    fw_tls_release(of_server);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("TLS in threads");
    TCase *tcase = fwt_tcase(suite, "threads", 120);
    tcase_add_unchecked_fixture(tcase, tlst_make_certificates, tlst_forget_certificates);
    tcase_add_test(tcase, threads_share_objects);
    return fwt_main(suite);
}
