/*
 * A connection that is made again for ever.
 *
 *     OFF --start--> RESOLVING --> CONNECTING --> GREETING --> UP
 *                       ^              | each address   | AUTH, SELECT, SCRIPT LOAD
 *                       |              v                v              |
 *                       +--timer--- BACKOFF <---------any failure------+
 *
 * RELOAD: from UP to GREETING and back on the same connection, with SCRIPT LOAD alone.
 *
 * A server that hangs is noticed by a check every half of the link's patience while something is
 * expected of it: two checks in a row before which no byte came end the connection. (Two, since
 * after a pause of this process the first one comes before what has arrived meanwhile.) Bytes that
 * go count only while others wait behind them: what the kernel takes at once, nobody may ever read.
 *
 * The password is never put into a detail, nor logged.
 */
#include "redis.h"

#include <fairway/error.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

#define BACKOFF_MS      50
#define MAX_BACKOFF_MS  2000
#define STRIKES         2
#define RESOLVE_STRIKES 8 /* a resolver has long timeouts of its own */

static void connect_next(fwi_redis_link *link);

static void resolve(fwi_redis_link *link);

/* ---- the end of a connection ---- */

/* Lets go of what the present state holds; the requests learn of it. */
static void disconnect(fwi_redis_link *link, fwi_redis_link_state next)
{
    uint64_t handed_over = link->socket ? fwi_redis_socket_handed_over(link->socket) : 0;
    if (link->lookup)
        fwi_redis_lookup_drop(link->lookup);
    if (link->socket)
        fwi_redis_socket_drop(link->socket);
    link->socket = NULL;
    link->state = next;
    link->greetings = 0;
    fwi_loop_timer_stop(link->client->loop, &link->timer);
    fwi_redis_requests_down(link, handed_over);
}

void fwi_redis_link_fail(fwi_redis_link *link, int reason, const char *detail)
{
    char text[FWI_REDIS_TEXT_BYTES]; /* the detail may live in what goes */
    (void)snprintf(text, sizeof text, "%s", detail);
    memcpy(link->detail, text, sizeof text);
    link->reason = reason;
    fwi_log(FW_LOG_DEBUG, "redis", "connection lost", FWI_TEXT("host", link->client->host),
            FWI_NUMBER("port", link->client->port), FWI_TEXT("reason", text));
    disconnect(link, FWI_REDIS_BACKOFF);
    if (link->state != FWI_REDIS_BACKOFF)
        return; /* somebody stopped it in a callback */
    fwi_loop_timer_start(link->client->loop, &link->timer, fw_backoff_next_ms(&link->backoff));
    if (link->on_down)
        link->on_down(link->client, reason, text);
}

void fwi_redis_link_stop(fwi_redis_link *link)
{
    disconnect(link, FWI_REDIS_OFF);
}

/* ---- the check for a server that hangs ---- */

static bool expects(const fwi_redis_link *link)
{
    return link->state != FWI_REDIS_UP || link->flight_count;
}

static void set_check(fwi_redis_link *link)
{
    fwi_loop_timer_start(link->client->loop, &link->timer, link->patience_ms / 2);
}

void fwi_redis_link_expect(fwi_redis_link *link)
{
    if (fwi_timer_armed(&link->timer))
        return;
    link->strikes = 0;
    link->uploaded = 0;
    link->heard = false;
    set_check(link);
}

/* True if what waited at the last check has been going out since. */
static bool uploads(fwi_redis_link *link)
{
    uint64_t before = link->uploaded, now = 0;
    if (link->socket)
        now = fwi_redis_socket_handed_over(link->socket);
    link->uploaded = link->socket && fwi_redis_socket_backlog(link->socket) ? now : 0;
    return before && now > before;
}

static void on_timer(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_redis_link *link = arg;
    if (link->state == FWI_REDIS_BACKOFF) {
        resolve(link);
        return;
    }
    if (!expects(link))
        return;
    link->strikes = link->heard || uploads(link) ? 0 : link->strikes + 1;
    link->heard = false;
    if (link->strikes >= (link->state == FWI_REDIS_RESOLVING ? RESOLVE_STRIKES : STRIKES))
        fwi_redis_link_fail(link, FW_EUNREACHABLE, "the server does not answer");
    else
        set_check(link);
}

void fwi_redis_link_on_heard(fwi_redis_link *link)
{
    link->heard = true;
    link->heard_ms = fw_loop_now_ms(link->client->loop);
}

void fwi_redis_link_on_written(fwi_redis_link *link)
{
    /* There may be room for more. */
    if (!fwi_list_empty(&link->queue))
        fwi_loop_defer(link->client->loop, &link->flush);
}

void fwi_redis_link_suspect(fwi_redis_link *link, uint64_t since_ms)
{
    if (link->state == FWI_REDIS_UP && link->flight_count && link->heard_ms < since_ms &&
        !fwi_redis_socket_backlog(link->socket))
        fwi_redis_link_fail(link, FW_EUNREACHABLE, "the server does not answer");
}

void fwi_redis_link_on_broken(fwi_redis_link *link, const char *detail)
{
    fwi_redis_link_fail(link, FW_EUNREACHABLE, detail);
}

/* ---- the way up ---- */

static void on_resolved(fwi_redis_link *link, int status)
{
    if (status) {
        char text[FWI_REDIS_TEXT_BYTES];
        (void)snprintf(text, sizeof text, "%s: %s", link->client->host, uv_strerror(status));
        fwi_redis_link_fail(link, FW_EUNREACHABLE, text);
        return;
    }
    link->address = 0;
    connect_next(link);
}

static void resolve(fwi_redis_link *link)
{
    link->state = FWI_REDIS_RESOLVING;
    fwi_redis_link_expect(link);
    int err = fwi_redis_resolve(link, on_resolved);
    if (err)
        fwi_redis_link_fail(link, FW_EUNREACHABLE, uv_strerror(err));
}

static void connect_next(fwi_redis_link *link)
{
    link->state = FWI_REDIS_CONNECTING;
    link->strikes = 0;
    int err = fwi_redis_socket_new(link, (struct sockaddr *)&link->addresses[link->address],
                                   &link->socket);
    if (err)
        fwi_redis_link_on_connected(link, err);
}

/* Writes one of the first commands. Sets *err once it has failed. */
static void greet(fwi_redis_link *link, fwi_redis_args *args, bool is_secret, int *err)
{
    fwi_redis_command *command = fwi_redis_format(args);
    fwi_redis_args_fini(args);
    if (command)
        command->is_secret = is_secret;
    if (!*err)
        *err = command ? fwi_redis_socket_write(link->socket, &command, 1) : UV_ENOMEM;
    if (command)
        fwi_redis_command_release(command);
    link->greetings++;
}

static void greet_auth(fwi_redis_link *link, int *err)
{
    const fwi_redis_client *client = link->client;
    if (!client->user && !client->password)
        return;
    fwi_redis_args args = {.count = 0};
    fwi_redis_args_text(&args, "AUTH");
    if (client->user)
        fwi_redis_args_text(&args, client->user);
    fwi_redis_args_text(&args, client->password ? client->password : "");
    greet(link, &args, true, err);
}

static void greet_select(fwi_redis_link *link, int *err)
{
    if (!strcmp(link->client->db, "0"))
        return;
    fwi_redis_args args = {.count = 0};
    fwi_redis_args_text(&args, "SELECT");
    fwi_redis_args_text(&args, link->client->db);
    greet(link, &args, false, err);
}

static void greet_script(fwi_redis_link *link, int *err)
{
    fwi_redis_args args = {.count = 0};
    fwi_redis_args_text(&args, "SCRIPT");
    fwi_redis_args_text(&args, "LOAD");
    fwi_redis_args_bytes(&args, fwi_redis_script, fwi_redis_script_len);
    greet(link, &args, false, err);
}

static void begin_greeting(fwi_redis_link *link, bool is_reloading)
{
    int err = FW_OK;
    link->state = FWI_REDIS_GREETING;
    link->strikes = 0;
    link->greetings = 0;
    if (!is_reloading) {
        greet_auth(link, &err);
        greet_select(link, &err);
    }
    greet_script(link, &err);
    if (err)
        fwi_redis_link_fail(link, FW_EUNREACHABLE, uv_strerror(err));
    else
        fwi_redis_link_expect(link);
}

void fwi_redis_link_on_connected(fwi_redis_link *link, int status)
{
    if (!status) {
        begin_greeting(link, false);
        return;
    }
    if (link->socket)
        fwi_redis_socket_drop(link->socket);
    link->socket = NULL;
    if (++link->address < link->address_count) {
        connect_next(link);
        return;
    }
    char text[FWI_REDIS_TEXT_BYTES];
    (void)snprintf(text, sizeof text, "%s:%d: %s", link->client->host, link->client->port,
                   uv_strerror(status));
    fwi_redis_link_fail(link, FW_EUNREACHABLE, text);
}

/* A server without AUTH answers with what it was given. */
static const char *without_password(const fwi_redis_link *link, const char *text)
{
    const char *password = link->client->password;
    return password && *password && strstr(text, password) ? "the server refuses AUTH" : text;
}

static void on_greeting(fwi_redis_link *link, const redisReply *reply)
{
    bool is_last = --link->greetings == 0;
    if (reply->type == REDIS_REPLY_ERROR) {
        int status;
        fwi_redis_refusal refusal = fwi_redis_classify(reply, &status);
        char text[FWI_REDIS_TEXT_BYTES];
        (void)snprintf(text, sizeof text, "%s", without_password(link, reply->str));
        fwi_redis_link_fail(link, status, text);
        if (refusal == FWI_REDIS_FINAL)
            fwi_redis_fail_queue(link, status, text, false);
        return;
    }
    if (!is_last)
        return;
    if (reply->type != REDIS_REPLY_STRING || strcmp(reply->str, fwi_redis_script_sha)) {
        fwi_redis_link_fail(link, FW_ESTORE, "malformed reply to SCRIPT LOAD");
        return;
    }
    link->state = FWI_REDIS_UP;
    link->reason = FW_OK;
    link->detail[0] = 0;
    fwi_redis_requests_up(link);
    if (link->on_up)
        link->on_up(link->client);
}

void fwi_redis_link_on_reply(fwi_redis_link *link, const redisReply *reply)
{
    if (link->state == FWI_REDIS_GREETING)
        on_greeting(link, reply);
    else
        fwi_redis_requests_reply(link, reply);
}

void fwi_redis_link_reload(fwi_redis_link *link)
{
    begin_greeting(link, true);
}

/* ---- life ---- */

void fwi_redis_link_init(fwi_redis_link *link, fwi_redis_client *client, uint32_t patience_ms)
{
    link->client = client;
    link->patience_ms = patience_ms;
    link->timer = (fwi_timer){.fn = on_timer, .arg = link};
    /* An operation that begins between two attempts still sees one before its time is over. */
    uint32_t half_ms = fwi_kv_timeout_ms(client->kv) / 2 + 1;
    fw_backoff_init(&link->backoff, BACKOFF_MS,
                    half_ms < MAX_BACKOFF_MS ? half_ms : MAX_BACKOFF_MS);
    fwi_redis_requests_init(link);
}

void fwi_redis_link_start(fwi_redis_link *link)
{
    if (link->state == FWI_REDIS_OFF)
        resolve(link);
}
