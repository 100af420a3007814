/*
 * The calls on curl's multi handle (../curl_loop.h has it on the loop), and its easy handles.
 *
 *     curl's callbacks in call.c keep what came -> on_done, on_turn -> fwi_eh_call_speak
 *                                               -> handlers -> the rest of the driver
 */
#include "etcd_http.h"

#include <fairway/error.h>
#include <stdlib.h>

#define CONNECT_MS 2000
#define MAX_IDLE_S                                                                                 \
    30L /* a connection that nobody used for so long may be dead, and is not used                  \
         */
#define CA_CACHE_S    60L /* certificates that were renewed on disk are seen after that */
#define ROOM          16  /* connections beside those of calls and streams */
#define MAX_IDLE_EASY (sizeof((fwi_eh_multi *)0)->idle / sizeof(CURL *))

static void on_done(CURL *easy, CURLcode result, void *arg)
{
    (void)arg;
    char *call = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &call);
    fwi_eh_call_finished((fwi_eh_call *)call, result);
}

static void on_turn(void *arg)
{
    fwi_eh_client *client = arg;
    for (fwi_list *node; (node = fwi_list_pop(&client->multi.ready));)
        fwi_eh_call_speak(fwi_eh_call_of_ready(node));
}

static void on_poll_closed(void *arg)
{
    fwi_eh_continue_close(arg);
}

/* ---- easy handles ---- */

static void set_tls(const fwi_eh_client *client, CURL *easy)
{
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, CA_CACHE_S);
    /* A key that asks for a passphrase would ask it at the terminal. */
    curl_easy_setopt(easy, CURLOPT_KEYPASSWD, "");
    if (client->cacert) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, client->cacert);
        curl_easy_setopt(easy, CURLOPT_CAPATH, NULL); /* the system's would still count */
    }
    if (client->cert) {
        curl_easy_setopt(easy, CURLOPT_SSLCERT, client->cert);
        curl_easy_setopt(easy, CURLOPT_SSLKEY, client->key);
    }
}

CURL *fwi_eh_easy_take(fwi_eh_client *client)
{
    fwi_eh_multi *multi = &client->multi;
    if (multi->idle_count)
        return multi->idle[--multi->idle_count];
    CURL *easy = fwi_curl_easy_new();
    if (!easy)
        return NULL;
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, client->is_tls ? "https" : "http");
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, MAX_IDLE_S);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    if (client->is_tls)
        set_tls(client, easy);
    return easy;
}

void fwi_eh_easy_give_back(fwi_eh_client *client, CURL *easy)
{
    fwi_eh_multi *multi = &client->multi;
    if (multi->idle_count == MAX_IDLE_EASY) {
        curl_easy_cleanup(easy);
        return;
    }
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, NULL);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, NULL);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, NULL);
    multi->idle[multi->idle_count++] = easy;
}

/* ---- life ---- */

void fwi_eh_multi_resize(fwi_eh_client *client)
{
    curl_multi_setopt(client->multi.curl.multi, CURLMOPT_MAXCONNECTS,
                      (long)(MAX_IDLE_EASY + client->multi.streams + ROOM));
}

int fwi_eh_multi_init(fwi_eh_client *client)
{
    fwi_eh_multi *multi = &client->multi;
    fwi_list_init(&multi->ready);
    fwi_list_init(&multi->waiting);
    multi->curl = (fwi_curl_loop){
        .on_done = on_done, .on_turn = on_turn, .on_poll_closed = on_poll_closed, .arg = client};
    int err = fwi_curl_loop_start(&multi->curl, client->core.loop);
    if (!err)
        fwi_eh_multi_resize(client);
    return err;
}

void fwi_eh_multi_end(fwi_eh_client *client)
{
    fwi_eh_multi *multi = &client->multi;
    while (multi->idle_count)
        curl_easy_cleanup(multi->idle[--multi->idle_count]);
    fwi_curl_loop_end(&multi->curl);
}
