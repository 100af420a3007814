#include "curl_loop.h"

#include <fairway/error.h>
#include <pthread.h>
#include <stdlib.h>
#include <uv.h>

static pthread_once_t started_once = PTHREAD_ONCE_INIT;
static CURLcode started;

static void start_curl(void)
{
    started = curl_global_init(CURL_GLOBAL_DEFAULT);
}

struct poll {
    uv_poll_t uv;
    fwi_curl_loop *curl;
    curl_socket_t socket;
};

static void dispatch(fwi_curl_loop *curl)
{
    int left;
    for (CURLMsg *message; curl->multi && (message = curl_multi_info_read(curl->multi, &left));)
        if (message->msg == CURLMSG_DONE)
            curl->on_done(message->easy_handle, message->data.result, curl->arg);
    if (curl->on_turn)
        curl->on_turn(curl->arg);
}

static void act(fwi_curl_loop *curl, curl_socket_t socket, int flags)
{
    int running;
    curl_multi_socket_action(curl->multi, socket, flags, &running);
    dispatch(curl);
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

static int on_timer_wanted(CURLM *multi, long timeout_ms, void *arg)
{
    (void)multi;
    fwi_curl_loop *curl = arg;
    fwi_loop_timer_stop(curl->loop, &curl->timer);
    if (timeout_ms > 0)
        fwi_loop_timer_start(curl->loop, &curl->timer, (uint64_t)timeout_ms);
    else if (!timeout_ms)
        fwi_curl_loop_kick(curl);
    return 0;
}

static void on_poll(uv_poll_t *handle, int status, int events)
{
    struct poll *poll = fwi_container_of(handle, struct poll, uv);
    int flags = status < 0 ? CURL_CSELECT_ERR : 0;
    if (events & UV_READABLE)
        flags |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        flags |= CURL_CSELECT_OUT;
    act(poll->curl, poll->socket, flags);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct poll *poll = fwi_container_of(handle, struct poll, uv);
    fwi_curl_loop *curl = poll->curl;
    free(poll);
    curl->polls--;
    curl->on_poll_closed(curl->arg);
}

static struct poll *poll_new(fwi_curl_loop *curl, curl_socket_t socket)
{
    struct poll *poll = calloc(1, sizeof *poll);
    if (!poll)
        return NULL;
    poll->curl = curl;
    poll->socket = socket;
    if (uv_poll_init_socket(fw_loop_uv(curl->loop), &poll->uv, socket)) {
        free(poll);
        return NULL;
    }
    curl->polls++;
    curl_multi_assign(curl->multi, socket, poll);
    return poll;
}

static int on_socket(CURL *easy, curl_socket_t socket, int what, void *arg, void *socket_arg)
{
    (void)easy;
    fwi_curl_loop *curl = arg;
    struct poll *poll = socket_arg;
    if (what == CURL_POLL_REMOVE) {
        if (poll)
            uv_close((uv_handle_t *)&poll->uv, on_poll_closed);
        return 0;
    }
    if (!poll)
        poll = poll_new(curl, socket);
    /* Without memory for it the call comes to its deadline; an error here would end all calls. */
    if (!poll)
        return 0;
    int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    return uv_poll_start(&poll->uv, events, on_poll) ? -1 : 0;
}

int fwi_curl_loop_start(fwi_curl_loop *curl, fw_loop *loop)
{
    pthread_once(&started_once, start_curl);
    curl->multi = started ? NULL : curl_multi_init();
    if (!curl->multi)
        return UV_ENOMEM;
    curl->loop = loop;
    curl->timer = (fwi_timer){.fn = on_timer, .arg = curl};
    curl->kick = (fwi_task){.fn = on_kick, .arg = curl};
    curl_multi_setopt(curl->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(curl->multi, CURLMOPT_SOCKETDATA, curl);
    curl_multi_setopt(curl->multi, CURLMOPT_TIMERFUNCTION, on_timer_wanted);
    curl_multi_setopt(curl->multi, CURLMOPT_TIMERDATA, curl);
    return FW_OK;
}

void fwi_curl_loop_end(fwi_curl_loop *curl)
{
    if (!curl->multi)
        return;
    curl_multi_cleanup(curl->multi); /* closes the connections, and so the polls */
    curl->multi = NULL;
    fwi_loop_timer_stop(curl->loop, &curl->timer);
    fwi_loop_defer_cancel(curl->loop, &curl->kick);
}

void fwi_curl_loop_kick(fwi_curl_loop *curl)
{
    fwi_loop_defer(curl->loop, &curl->kick);
}

CURL *fwi_curl_easy_new(void)
{
    CURL *easy = curl_easy_init();
    if (!easy)
        return NULL;
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    /* Dropping a call while its name is looked up does not wait for the look-up. */
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    return easy;
}
