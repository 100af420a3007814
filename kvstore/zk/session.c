/*
 * A session: see session.h. The library is started and ended in libuv's pool, as it looks up names
 * and waits there; all else it does without blocking.
 *
 * Why a session is closed only when nothing is out: while it ends, the library forgets completions
 * that its thread did not reach any more. If a server does not answer, the library is sent to an
 * address where nobody listens (zoo_set_servers), so that it gives up what is out.
 *
 * How a session is dropped: zookeeper_close tells the server, unless the session is not connected,
 * and there is no function that disconnects. But a server disconnects a client, and keeps its
 * session, when it authenticates with a scheme that does not exist.
 */
#include "session.h"

#include <arpa/inet.h>
#include <assert.h>
#include <fairway/error.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_PORT     2181
#define ADDRESSES_BYTES  4096
#define NOWHERE          "127.0.0.1:1"
#define NO_SUCH_SCHEME   "fairway-drop"
#define AUTH_FAILED_TEXT "the server refused the authentication"

struct message {
    fwi_task task;
    fwi_zk_session *session;
    int type, state;
    char path[];
};

static void on_message(fwi_task *task, void *arg);
static void end_if_idle(fwi_zk_session *session);

/* ---- in the library's threads and in the pool ---- */

void fwi_zk_on_event(zhandle_t *zh, int type, int state, const char *path, void *arg)
{
    (void)zh;
    fwi_zk_session *session = arg;
    size_t len = path ? strlen(path) : 0;
    struct message *message = malloc(sizeof *message + len + 1);
    if (!message) {
        if (!atomic_exchange(&session->lost_event, true))
            fwi_loop_post_task(session->loop, &session->lost);
        return;
    }
    message->task = (fwi_task){.fn = on_message, .arg = message};
    message->session = session;
    message->type = type;
    message->state = state;
    if (len)
        memcpy(message->path, path, len);
    message->path[len] = 0;
    fwi_loop_post_task(session->loop, &message->task);
}

static size_t add_address(char *text, size_t used, const struct addrinfo *info, int port)
{
    char host[INET6_ADDRSTRLEN];
    const void *address = info->ai_family == AF_INET6
                              ? (const void *)&((struct sockaddr_in6 *)info->ai_addr)->sin6_addr
                              : (const void *)&((struct sockaddr_in *)info->ai_addr)->sin_addr;
    if (!inet_ntop(info->ai_family, address, host, sizeof host))
        return used;
    /* The library takes what stands before the last colon: no brackets. */
    int n = snprintf(text + used, ADDRESSES_BYTES - used, "%s%s:%d", used ? "," : "", host, port);
    if (n <= 0 || (size_t)n >= ADDRESSES_BYTES - used)
        text[used] = 0; /* more servers than anybody has: the first ones do */
    else
        used += (size_t)n;
    return used;
}

/* All addresses of all servers. The library gets numbers because with names it would look them up
 * again in its thread whenever it connects, and it spins while that fails. */
static void resolve(const fwi_zk_servers *servers, char *text)
{
    static const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    size_t used = 0;
    text[0] = 0;
    for (size_t i = 0; i < servers->count; i++) {
        struct addrinfo *list;
        if (getaddrinfo(servers->hosts[i].name, NULL, &hints, &list))
            continue;
        int port = servers->hosts[i].port ? servers->hosts[i].port : DEFAULT_PORT;
        for (const struct addrinfo *info = list; info; info = info->ai_next)
            if (info->ai_family == AF_INET || info->ai_family == AF_INET6)
                used = add_address(text, used, info, port);
        freeaddrinfo(list);
    }
}

static void open_in_pool(uv_work_t *work)
{
    fwi_zk_session *session = work->data;
    char addresses[ADDRESSES_BYTES];
    resolve(session->servers, addresses);
    if (!addresses[0]) {
        session->detail = "no address of a server is known";
        return;
    }
    session->zh = zookeeper_init2(addresses, fwi_zk_on_event, (int)session->timeout_ms, NULL,
                                  session, ZOO_NO_LOG_CLIENTENV, NULL);
    if (!session->zh)
        session->detail = "the client library cannot be started";
}

static void close_in_pool(uv_work_t *work)
{
    fwi_zk_session *session = work->data;
    if (!session->zh)
        return;
    if (session->drop)
        (void)zoo_set_servers(session->zh, NOWHERE); /* if it is connected after all */
    (void)zookeeper_close(session->zh);
}

static void force_in_pool(uv_work_t *work)
{
    fwi_zk_session *session = work->data;
    (void)zoo_set_servers(session->zh, NOWHERE);
}

/* ---- state ---- */

static void set_state(fwi_zk_session *session, fwi_zk_state state)
{
    if (session->state == state || session->state >= FWI_ZK_OVER)
        return;
    session->state = state;
    if (!session->closed)
        session->events->on_state(session, session->arg);
}

static void set_over(fwi_zk_session *session, int reason, const char *detail)
{
    if (session->state >= FWI_ZK_OVER)
        return;
    session->reason = reason;
    session->detail = detail;
    set_state(session, FWI_ZK_OVER);
}

static void on_auth(int rc, const void *data)
{
    (void)rc;
    (void)data; /* a failure is a state of the session, told as such */
}

static void connected(fwi_zk_session *session)
{
    if (session->state == FWI_ZK_OPENING || session->state == FWI_ZK_UP) {
        session->connected_early = true;
        return;
    }
    /* Not before: the library takes no credentials while it is between two attempts. It repeats
     * them by itself when it connects again. */
    const char *auth = session->servers->auth;
    if (!session->id && auth &&
        zoo_add_auth(session->zh, "digest", auth, (int)strlen(auth), on_auth, NULL))
        return; /* the connection is gone already */
    session->id = zoo_client_id(session->zh)->client_id;
    session->timeout_ms = (uint32_t)zoo_recv_timeout(session->zh);
    set_state(session, FWI_ZK_UP);
}

static void on_session_event(fwi_zk_session *session, int state)
{
    if (session->ending)
        return; /* the library may be gone */
    if (state == ZOO_CONNECTED_STATE) {
        connected(session);
    } else if (state == ZOO_EXPIRED_SESSION_STATE) {
        set_over(session, FW_ELEASE, "the session has expired");
    } else if (state == ZOO_AUTH_FAILED_STATE) {
        set_over(session, FW_EAUTH, AUTH_FAILED_TEXT);
        session->unconfirmed_auth = false;
        end_if_idle(session);
    } else {
        session->connected_early = false;
        if (session->state == FWI_ZK_UP)
            set_state(session, FWI_ZK_DOWN);
    }
}

static void on_message(fwi_task *task, void *arg)
{
    (void)task;
    struct message *message = arg;
    fwi_zk_session *session = message->session;
    if (message->type == ZOO_SESSION_EVENT)
        on_session_event(session, message->state);
    else if (!session->closed && session->events->on_change)
        session->events->on_change(message->path, message->type, session->arg);
    free(message);
}

static void on_lost_event(fwi_task *task, void *arg)
{
    (void)task;
    set_over(arg, UV_ENOMEM, "an event was lost for lack of memory");
}

static void on_opened(uv_work_t *work, int status)
{
    (void)status;
    fwi_zk_session *session = work->data;
    session->working = false;
    if (!session->zh) {
        set_over(session, FW_EUNREACHABLE, session->detail);
    } else {
        set_state(session, FWI_ZK_DOWN);
        if (session->connected_early && session->state == FWI_ZK_DOWN)
            connected(session);
    }
    end_if_idle(session);
}

/* ---- closing ---- */

static void on_last(fwi_task *task, void *arg)
{
    (void)task;
    fwi_zk_session *session = arg;
    session->events->on_closed(session, session->arg);
    free(session);
}

static void on_closed(uv_work_t *work, int status)
{
    (void)status;
    fwi_zk_session *session = work->data;
    /* Behind all that the library's threads have posted. */
    session->last = (fwi_task){.fn = on_last, .arg = session};
    fwi_loop_post_task(session->loop, &session->last);
}

static void end_if_idle(fwi_zk_session *session)
{
    if (!session->closed || session->working || session->ending || session->outstanding ||
        session->unconfirmed_auth)
        return;
    session->ending = true;
    session->state = FWI_ZK_CLOSING;
    fwi_loop_timer_stop(session->loop, &session->force);
    int err = uv_queue_work(fw_loop_uv(session->loop), &session->work, close_in_pool, on_closed);
    assert(!err);
    (void)err;
}

static void on_forced(uv_work_t *work, int status)
{
    (void)status;
    fwi_zk_session *session = work->data;
    session->working = false;
    /* Its thread sleeps at the connection that is no more: a request wakes it. */
    if (session->outstanding && !is_unrecoverable(session->zh)) {
        fwi_zk_request *request = fwi_zk_request_new(session, NULL, NULL);
        if (request)
            fwi_zk_send_exists(request, "/", false);
    }
    end_if_idle(session);
}

static void on_force(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_zk_session *session = arg;
    if (session->working || session->ending)
        return;
    session->unconfirmed_auth = false;
    if (session->zh && session->outstanding) {
        session->working = true;
        int err =
            uv_queue_work(fw_loop_uv(session->loop), &session->work, force_in_pool, on_forced);
        assert(!err);
        (void)err;
    }
    end_if_idle(session);
}

void fwi_zk_session_close(fwi_zk_session *session, bool drop, uint32_t grace_ms)
{
    assert(!session->closed);
    session->closed = true;
    session->drop = drop;
    if (drop && session->state == FWI_ZK_UP)
        session->unconfirmed_auth =
            !zoo_add_auth(session->zh, NO_SUCH_SCHEME, NULL, 0, on_auth, NULL);
    fwi_loop_timer_start(session->loop, &session->force, grace_ms);
    end_if_idle(session);
}

void fwi_zk_session_answered(fwi_zk_session *session)
{
    session->outstanding--;
    end_if_idle(session);
}

fwi_zk_session *fwi_zk_session_new(fw_loop *loop, const fwi_zk_servers *servers,
                                   uint32_t timeout_ms, const fwi_zk_events *events, void *arg)
{
    fwi_zk_session *session = calloc(1, sizeof *session);
    if (!session)
        return NULL;
    session->loop = loop;
    session->servers = servers;
    session->timeout_ms = timeout_ms;
    session->events = events;
    session->arg = arg;
    session->detail = "";
    session->state = FWI_ZK_OPENING;
    fwi_list_init(&session->node);
    session->work.data = session;
    session->force = (fwi_timer){.fn = on_force, .arg = session};
    session->lost = (fwi_task){.fn = on_lost_event, .arg = session};
    session->working = true;
    int err = uv_queue_work(fw_loop_uv(loop), &session->work, open_in_pool, on_opened);
    assert(!err);
    (void)err;
    return session;
}
