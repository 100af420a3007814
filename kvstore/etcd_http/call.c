/*
 * One exchange over HTTP/1.1: a POST with its reply, or with a stream of messages, one a line.
 *
 *     start -> WAITING (for one of the shared connections) -> UNDER WAY -> finished -> on_end
 *                                                              | messages of a stream
 *     drop: at any time, then no callback comes
 *
 * What is known of a request that brought no answer decides whether it may be made again. curl says
 * when it is about to write a request to a connection (the pre-request callback): before that
 * nothing was sent. It says so a second time when it is about to repeat the request by itself,
 * which it does if a connection that was used before turns out to be dead; a request that must not
 * be done twice is ended there.
 *
 * At most SHARED calls are under way at a time, the others wait; a call that waits for nothing but
 * its turn is dropped by its owner's deadline. Streams, and what keeps things alive, do not count.
 */
#include "etcd_http.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHARED         64
#define MAX_URL_BYTES  400
#define LEAST_CAPACITY 4096
#define MAX_PLAIN_TEXT 120 /* of a reply that is not JSON */
#define MAX_TEXT       200

struct fwi_eh_call {
    fwi_eh_client *client;
    fwi_eh_call_options options;
    fwi_eh_call_handler handler;
    fwi_list ready, waiting; /* in the lists of client->multi */
    CURL *easy;              /* NULL: waiting, or finished */
    bool is_shared;          /* counts in multi.active */
    unsigned times_sent;
    bool speaking, dropped, finished, too_long;
    CURLcode result;
    long http_status, new_connections;
    int system_error;
    char *data; /* what came and was not yet told */
    size_t len, capacity, searched;
    char error[CURL_ERROR_SIZE];
};

static bool is_stream(const fwi_eh_call *call)
{
    return call->handler.on_message != NULL;
}

fwi_eh_call *fwi_eh_call_of_ready(fwi_list *node)
{
    return fwi_container_of(node, fwi_eh_call, ready);
}

bool fwi_eh_call_was_sent(const fwi_eh_call *call)
{
    return call->times_sent > 0;
}

/* ---- curl's callbacks: they only keep what came ---- */

static void be_ready(fwi_eh_call *call)
{
    if (fwi_list_empty(&call->ready))
        fwi_list_push_back(&call->client->multi.ready, &call->ready);
}

static size_t on_data(char *bytes, size_t size, size_t count, void *arg)
{
    fwi_eh_call *call = arg;
    size_t more = size * count;
    fwi_eh_health_heard(&call->client->endpoints[call->options.endpoint]);
    if (more > FWI_EH_MAX_REPLY_BYTES - call->len) {
        call->too_long = true;
        return 0;
    }
    if (call->capacity - call->len < more) {
        size_t capacity = call->capacity ? call->capacity : LEAST_CAPACITY;
        while (capacity - call->len < more)
            capacity *= 2;
        char *data = realloc(call->data, capacity);
        if (!data)
            return 0;
        call->data = data;
        call->capacity = capacity;
    }
    memcpy(call->data + call->len, bytes, more);
    call->len += more;
    if (is_stream(call))
        be_ready(call);
    return more;
}

static int on_sending(void *arg, char *to, char *from, int to_port, int from_port)
{
    (void)to;
    (void)from;
    (void)to_port;
    (void)from_port;
    fwi_eh_call *call = arg;
    call->times_sent++;
    return call->options.once && call->times_sent > 1 ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

/* ---- begin ---- */

static bool is_under_way(const fwi_eh_call *call)
{
    return call->easy != NULL;
}

/* Hands the call to curl. False: no memory. */
static bool begin(fwi_eh_call *call)
{
    fwi_eh_client *client = call->client;
    char url[MAX_URL_BYTES];
    (void)snprintf(url, sizeof url, "%s%s", client->endpoints[call->options.endpoint].url,
                   call->options.path);
    CURL *easy = fwi_eh_easy_take(client);
    if (!easy)
        return false;
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, call->options.body.data);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->options.body.len);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, call->options.headers->list);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_sending);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, call);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->error);
    if (curl_easy_setopt(easy, CURLOPT_URL, url) ||
        curl_multi_add_handle(client->multi.curl.multi, easy)) {
        curl_easy_cleanup(easy);
        return false;
    }
    call->easy = easy;
    if (is_stream(call)) {
        client->multi.streams++;
        fwi_eh_multi_resize(client);
    }
    return true;
}

/* Takes the call back from curl; those that wait get its place. */
static void leave(fwi_eh_call *call)
{
    fwi_eh_client *client = call->client;
    fwi_eh_multi *multi = &client->multi;
    fwi_list_remove(&call->waiting);
    if (is_under_way(call)) {
        curl_multi_remove_handle(multi->curl.multi, call->easy);
        fwi_eh_easy_give_back(client, call->easy);
        call->easy = NULL;
        if (is_stream(call)) {
            multi->streams--;
            fwi_eh_multi_resize(client);
        }
    }
    if (!call->is_shared)
        return;
    call->is_shared = false;
    multi->active--;
    fwi_list *node = client->closing ? NULL : fwi_list_pop(&multi->waiting);
    if (!node)
        return;
    fwi_eh_call *next = fwi_container_of(node, fwi_eh_call, waiting);
    next->is_shared = true;
    multi->active++;
    if (!begin(next)) {
        fwi_eh_call_finished(next, CURLE_OUT_OF_MEMORY);
        fwi_curl_loop_kick(&multi->curl);
    }
}

void fwi_eh_headers_release(fwi_eh_headers *headers)
{
    if (--headers->references)
        return;
    curl_slist_free_all(headers->list);
    free(headers);
}

static void call_free(fwi_eh_call *call)
{
    fwi_list_remove(&call->ready);
    leave(call);
    fwi_eh_headers_release(call->options.headers);
    free(call->data);
    free(call);
}

fwi_eh_call *fwi_eh_call_start(fwi_eh_client *client, const fwi_eh_call_options *options,
                               const fwi_eh_call_handler *handler)
{
    fwi_eh_multi *multi = &client->multi;
    fwi_eh_call *call = calloc(1, sizeof *call);
    if (!call)
        return NULL;
    call->client = client;
    call->options = *options;
    call->handler = *handler;
    call->options.headers->references++;
    fwi_list_init(&call->ready);
    fwi_list_init(&call->waiting);
    bool shares = !options->urgent && !is_stream(call);
    if (shares && multi->active >= SHARED) {
        fwi_list_push_back(&multi->waiting, &call->waiting);
        return call;
    }
    if (!begin(call)) {
        call_free(call);
        return NULL;
    }
    call->is_shared = shares;
    multi->active += shares;
    return call;
}

void fwi_eh_call_drop(fwi_eh_call *call)
{
    if (call->speaking)
        call->dropped = true;
    else
        call_free(call);
}

/* ---- the end ---- */

void fwi_eh_call_finished(fwi_eh_call *call, CURLcode result)
{
    call->finished = true;
    call->result = result;
    if (is_under_way(call)) {
        long system_error = 0;
        curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &call->http_status);
        curl_easy_getinfo(call->easy, CURLINFO_OS_ERRNO, &system_error);
        call->system_error = (int)system_error;
        curl_easy_getinfo(call->easy, CURLINFO_NUM_CONNECTS, &call->new_connections);
    }
    leave(call);
    be_ready(call);
}

static bool has(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

/* True if curl's failure is about certificates, or about TLS as such, and not about a connection
 * that was lost. */
static bool is_tls_failure(const fwi_eh_call *call, const char *text)
{
    switch (call->result) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
        return true;
    case CURLE_SSL_CONNECT_ERROR:
        return !has(text, "SYSCALL") && !has(text, "reset by peer") && !has(text, "eof");
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
        /* With TLS 1.3 the server refuses our certificate when the handshake is over for us; it has
         * read nothing of the request then. */
        return call->client->is_tls && !call->len && has(text, " alert ");
    default:
        return false;
    }
}

/* True if the connection was new, and ended before the server said anything. */
static bool is_closed_at_once(const fwi_eh_call *call)
{
    return call->new_connections && !call->len &&
           (call->result == CURLE_GOT_NOTHING || call->result == CURLE_RECV_ERROR ||
            call->result == CURLE_SEND_ERROR);
}

/* With TLS 1.3 the alert that says why the server does not accept our certificate may be overtaken
 * by the end of the connection; but this does not happen twice in a row for another reason. A
 * request that goes once goes to servers only that have answered. */
static void judge_hangup(fwi_eh_call *call, fwi_eh_end *end)
{
    if (!call->client->is_tls) {
        end->text = "the server closed the connection at once (does it want TLS?)";
        return;
    }
    end->text = "the server closed the connection after the handshake (does it accept our "
                "certificate, or want one?)";
    if (!call->options.once && ++call->client->endpoints[call->options.endpoint].hangups > 1)
        end->outcome = FWI_EH_NO_TLS;
}

static void judge_failure(fwi_eh_call *call, fwi_eh_end *end)
{
    end->text = call->error[0] ? call->error : curl_easy_strerror(call->result);
    if (call->too_long) {
        end->outcome = FWI_EH_TOO_LONG;
        end->text = "a reply is longer than 64 MiB";
    } else if (is_tls_failure(call, end->text)) {
        end->outcome = FWI_EH_NO_TLS;
    } else {
        end->outcome = call->times_sent ? FWI_EH_LOST : FWI_EH_NOT_SENT;
        if (call->result == CURLE_SSL_CONNECT_ERROR)
            end->text = "the server ended the TLS handshake (does it speak TLS?)";
        else if (is_closed_at_once(call))
            judge_hangup(call, end);
        else if (call->result == CURLE_ABORTED_BY_CALLBACK || call->result == CURLE_GOT_NOTHING)
            end->text = "the server closed the connection";
        else if (call->result == CURLE_COULDNT_CONNECT && call->system_error)
            end->text = uv_strerror(uv_translate_sys_error(call->system_error));
    }
}

/* A reply that is not etcd's: what stands before it has answered, or it is no etcd. */
static void judge_foreign(const fwi_eh_call *call, fwi_eh_end *end, char *ret_text, size_t size)
{
    size_t len = 0;
    while (len < call->len && len < MAX_PLAIN_TEXT && (unsigned char)call->data[len] >= ' ')
        len++;
    (void)snprintf(ret_text, size, "HTTP %ld: %.*s", call->http_status, (int)len,
                   len ? call->data : "");
    end->text = ret_text;
    end->code = FWI_EC_FAILED_PRECONDITION;
    if (call->http_status >= 500)
        end->outcome = FWI_EH_LOST;
}

static void end_call(fwi_eh_call *call)
{
    char text[MAX_TEXT];
    fwi_eh_end end = {.outcome = FWI_EH_ANSWERED, .text = "", .bytes = call->len};
    bool is_over = is_stream(call) && call->http_status == 200;
    /* The last message of a stream, which says why it ends, has no end of line. */
    cJSON *json = call->len && !call->result ? cJSON_ParseWithLength(call->data, call->len) : NULL;
    if (call->result) {
        judge_failure(call, &end);
    } else if (fwi_eh_json_error(json, &end.code, &end.text)) {
        /* as it says */
    } else if (is_over) {
        end.outcome = FWI_EH_LOST;
        end.text = "the server ended the stream";
    } else if (call->http_status != 200) {
        judge_foreign(call, &end, text, sizeof text);
    } else {
        cJSON *inner = fwi_eh_json_get(json, "result");
        end.json = inner ? inner : json;
    }
    call->dropped = true; /* dropping it inside does nothing more */
    call->handler.on_end(call, &end, call->handler.arg);
    cJSON_Delete(json);
    call_free(call);
}

/* Tells the messages that are complete. */
static void tell_messages(fwi_eh_call *call)
{
    size_t told = 0;
    while (!call->dropped) {
        char *end = memchr(call->data + call->searched, '\n', call->len - call->searched);
        if (!end)
            break;
        fw_slice message = {call->data + told, (size_t)(end - call->data) - told};
        told = call->searched = (size_t)(end - call->data) + 1;
        if (message.len)
            call->handler.on_message(call, message, call->handler.arg);
    }
    call->len -= told;
    memmove(call->data, call->data + told, call->len);
    call->searched = call->len;
}

void fwi_eh_call_speak(fwi_eh_call *call)
{
    call->speaking = true;
    if (!call->finished)
        curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &call->http_status);
    if (is_stream(call) && call->http_status == 200 && call->len)
        tell_messages(call);
    if (call->finished && !call->dropped) {
        end_call(call);
        return;
    }
    call->speaking = false;
    if (call->dropped)
        call_free(call);
}
