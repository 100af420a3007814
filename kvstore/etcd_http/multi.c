/*
 * curl's multi handle on our loop: one uv_poll for each socket that curl wants watched, one timer
 * for what curl wants done later, and a task for what it wants done now (a timer of 0 ms would cost
 * every call a millisecond).
 *
 *     uv_poll, timer, kick -> curl_multi_socket_action -> callbacks of call.c: keep what came
 *                          -> dispatch -> fwi_eh_call_speak -> handlers -> the rest of the driver
 *
 * curl refuses to be called from its own callbacks. So these only keep what came, and all that
 * follows from it happens in dispatch, where calls may be started, dropped and ended as one likes.
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

struct poll {
    uv_poll_t uv;
    fwi_eh_client *client;
    curl_socket_t socket;
};

static void dispatch(fwi_eh_client *client)
{
    fwi_eh_multi *multi = &client->multi;
    int left;
    for (CURLMsg *message; (message = curl_multi_info_read(multi->curl, &left));) {
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode result = message->data.result;
        char *call = NULL;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &call);
        fwi_eh_call_finished((fwi_eh_call *)call, result);
    }
    for (fwi_list *node; (node = fwi_list_pop(&multi->ready));)
        fwi_eh_call_speak(fwi_eh_call_of_ready(node));
}

static void act(fwi_eh_client *client, curl_socket_t socket, int flags)
{
    int running;
    curl_multi_socket_action(client->multi.curl, socket, flags, &running);
    dispatch(client);
}

static void on_kick(fwi_task *task, void *arg)
{
    (void)task;
    act(arg, CURL_SOCKET_TIMEOUT, 0);
}

static void on_timer(fwi_timer *timer, void *arg)
{
    (void)timer;
    act(arg, CURL_SOCKET_TIMEOUT, 0);
}

static int on_timer_wanted(CURLM *curl, long timeout_ms, void *arg)
{
    (void)curl;
    fwi_eh_client *client = arg;
    fwi_eh_multi *multi = &client->multi;
    fwi_loop_timer_stop(client->loop, &multi->timer);
    if (timeout_ms > 0)
        fwi_loop_timer_start(client->loop, &multi->timer, (uint64_t)timeout_ms);
    else if (!timeout_ms)
        fwi_loop_defer(client->loop, &multi->kick);
    return 0;
}

/* ---- sockets ---- */

static void on_poll(uv_poll_t *handle, int status, int events)
{
    struct poll *poll = fwi_container_of(handle, struct poll, uv);
    int flags = status < 0 ? CURL_CSELECT_ERR : 0;
    if (events & UV_READABLE)
        flags |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        flags |= CURL_CSELECT_OUT;
    act(poll->client, poll->socket, flags);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct poll *poll = fwi_container_of(handle, struct poll, uv);
    fwi_eh_client *client = poll->client;
    free(poll);
    client->multi.polls--;
    fwi_eh_continue_close(client);
}

static struct poll *poll_new(fwi_eh_client *client, curl_socket_t socket)
{
    struct poll *poll = calloc(1, sizeof *poll);
    if (!poll)
        return NULL;
    poll->client = client;
    poll->socket = socket;
    if (uv_poll_init_socket(fw_loop_uv(client->loop), &poll->uv, socket)) {
        free(poll);
        return NULL;
    }
    client->multi.polls++;
    curl_multi_assign(client->multi.curl, socket, poll);
    return poll;
}

static int on_socket(CURL *easy, curl_socket_t socket, int what, void *arg, void *socket_arg)
{
    (void)easy;
    fwi_eh_client *client = arg;
    struct poll *poll = socket_arg;
    if (what == CURL_POLL_REMOVE) {
        if (poll)
            uv_close((uv_handle_t *)&poll->uv, on_poll_closed);
        return 0;
    }
    if (!poll)
        poll = poll_new(client, socket);
    /* Without memory for it the call comes to its deadline; an error here would end all calls. */
    if (!poll)
        return 0;
    int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    return uv_poll_start(&poll->uv, events, on_poll) ? -1 : 0;
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
    CURL *easy = curl_easy_init();
    if (!easy)
        return NULL;
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    /* Dropping a call while its name is looked up does not wait for the look-up. */
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXY, ""); /* none, whatever the environment says */
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, client->is_tls ? "https" : "http");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
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
    curl_multi_setopt(client->multi.curl, CURLMOPT_MAXCONNECTS,
                      (long)(MAX_IDLE_EASY + client->multi.streams + ROOM));
}

int fwi_eh_multi_init(fwi_eh_client *client)
{
    fwi_eh_multi *multi = &client->multi;
    fwi_list_init(&multi->ready);
    fwi_list_init(&multi->waiting);
    multi->timer = (fwi_timer){.fn = on_timer, .arg = client};
    multi->kick = (fwi_task){.fn = on_kick, .arg = client};
    multi->curl = curl_multi_init();
    if (!multi->curl)
        return UV_ENOMEM;
    curl_multi_setopt(multi->curl, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(multi->curl, CURLMOPT_SOCKETDATA, client);
    curl_multi_setopt(multi->curl, CURLMOPT_TIMERFUNCTION, on_timer_wanted);
    curl_multi_setopt(multi->curl, CURLMOPT_TIMERDATA, client);
    fwi_eh_multi_resize(client);
    return FW_OK;
}

void fwi_eh_multi_end(fwi_eh_client *client)
{
    fwi_eh_multi *multi = &client->multi;
    while (multi->idle_count)
        curl_easy_cleanup(multi->idle[--multi->idle_count]);
    if (multi->curl)
        curl_multi_cleanup(multi->curl); /* closes the connections, and so the polls */
    multi->curl = NULL;
    fwi_loop_timer_stop(client->loop, &multi->timer);
    fwi_loop_defer_cancel(client->loop, &multi->kick);
}
