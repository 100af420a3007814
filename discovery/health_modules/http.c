/* A health check over HTTP/1.1: one GET on a new connection, by curl on the loop. */
#include "curl_loop.h"
#include "health_driver.h"

#include <errno.h>
#include <fairway/error.h>
#include <fairway/url.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <uv.h>

#define MAX_URL_BYTES    1600
#define MAX_HEADER_BYTES 300
/* The status has been said by then; who sends more is not asked for it. */
#define MAX_BODY_BYTES 65536

struct shared {
    fwi_curl_loop curl;
    bool closing;
    void (*on_closed)(void *arg);
    void *arg;
    fwi_task gone;
};

struct probe {
    struct shared *shared;
    CURL *easy;
    struct curl_slist *headers;
    fwi_probe_fn fn;
    void *arg;
    char *detail;
    uint16_t least_status, most_status;
    int socket_error; /* why there is no socket: curl does not say */
    size_t body_bytes;
    char error[CURL_ERROR_SIZE];
};

static void probe_free(struct probe *probe)
{
    if (probe->easy)
        curl_multi_remove_handle(probe->shared->curl.multi, probe->easy);
    curl_easy_cleanup(probe->easy);
    curl_slist_free_all(probe->headers);
    free(probe);
}

/* ---- the end of a probe ---- */

static int system_error(CURL *easy, int otherwise)
{
    long error = 0;
    curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &error);
    return error ? uv_translate_sys_error((int)error) : otherwise;
}

/* Why there was no answer. */
static int reason_of(const struct probe *probe, CURLcode result)
{
    if (probe->socket_error)
        return probe->socket_error;
    switch (result) {
    case CURLE_OPERATION_TIMEDOUT:
        return FW_EDEADLINE;
    case CURLE_COULDNT_RESOLVE_HOST:
        return UV_EAI_NONAME;
    case CURLE_COULDNT_CONNECT:
        return system_error(probe->easy, UV_ECONNREFUSED);
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
        return system_error(probe->easy, UV_ECONNRESET);
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
        return UV_EOF;
    case CURLE_OUT_OF_MEMORY:
        return UV_ENOMEM;
    default:
        return FW_EPROTOCOL;
    }
}

static int judge(const struct probe *probe, CURLcode result)
{
    long status = 0;
    bool is_long = result == CURLE_WRITE_ERROR && probe->body_bytes > MAX_BODY_BYTES;
    if (result && !is_long) {
        (void)snprintf(probe->detail, FWI_HEALTH_DETAIL_BYTES, "%s",
                       probe->error[0] ? probe->error : curl_easy_strerror(result));
        return reason_of(probe, result);
    }
    curl_easy_getinfo(probe->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status >= probe->least_status && status <= probe->most_status)
        return FW_OK;
    (void)snprintf(probe->detail, FWI_HEALTH_DETAIL_BYTES, "HTTP status %ld", status);
    return FW_EREMOTE;
}

static void on_done(CURL *easy, CURLcode result, void *arg)
{
    (void)arg;
    char *private = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private);
    struct probe *probe = (struct probe *)private;
    fwi_probe_fn fn = probe->fn;
    void *fn_arg = probe->arg;
    int reason = judge(probe, result);
    probe_free(probe);
    fn(reason, fn_arg);
}

static void cancel(void *probe)
{
    probe_free(probe);
}

/* ---- the start of a probe ---- */

static size_t on_body(char *bytes, size_t size, size_t count, void *arg)
{
    (void)bytes;
    struct probe *probe = arg;
    probe->body_bytes += size * count;
    return probe->body_bytes > MAX_BODY_BYTES ? 0 : size * count;
}

static curl_socket_t on_socket_wanted(void *arg, curlsocktype purpose,
                                      struct curl_sockaddr *address)
{
    (void)purpose;
    struct probe *probe = arg;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    probe->socket_error = fd < 0 ? uv_translate_sys_error(errno) : FW_OK;
    return fd < 0 ? CURL_SOCKET_BAD : fd;
}

/* What can stand in a URL as it is. */
static bool is_host(const char *name)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                  "-._:";
    return name[0] && !name[strspn(name, allowed)];
}

/* Where to ask: a URL, and for a unix socket its path. */
static int write_url(const fw_instance *instance, const char *path, char *ret_url, size_t size)
{
    if (!strcmp(instance->net, "unix")) {
        (void)snprintf(ret_url, size, "http://localhost%s", path);
        return FW_OK;
    }
    if (strcmp(instance->net, "tcp"))
        return FW_ESCHEME;
    char *text;
    fw_url url;
    int err = fw_instance_url(instance, &text);
    if (err)
        return err;
    err = fw_url_init(&url, text);
    free(text);
    if (err)
        return err;
    int len = -1;
    if (url.host_count == 1 && url.hosts[0].port && is_host(url.hosts[0].name))
        len = snprintf(ret_url, size,
                       strchr(url.hosts[0].name, ':') ? "http://[%s]:%d%s" : "http://%s:%d%s",
                       url.hosts[0].name, url.hosts[0].port, path);
    fw_url_fini(&url);
    return len > 0 && (size_t)len < size ? FW_OK : FW_EURL;
}

static bool set_host(struct probe *probe, const char *host)
{
    char header[MAX_HEADER_BYTES];
    if (!host)
        return true;
    (void)snprintf(header, sizeof header, "Host: %s", host);
    probe->headers = curl_slist_append(NULL, header);
    return probe->headers && !curl_easy_setopt(probe->easy, CURLOPT_HTTPHEADER, probe->headers);
}

static bool set_up(struct probe *probe, const fwi_health_question *question, const char *url)
{
    CURL *easy = probe->easy = fwi_curl_easy_new();
    if (!easy)
        return false;
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)question->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_socket_wanted);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, probe);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, probe);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, probe);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, probe->error);
    if (!strcmp(question->instance->net, "unix") &&
        curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, question->instance->addr))
        return false;
    return !curl_easy_setopt(easy, CURLOPT_USERAGENT, "fairway-health") &&
           !curl_easy_setopt(easy, CURLOPT_URL, url) && set_host(probe, question->check->host);
}

static int start(void *arg, const fwi_health_question *question, void **ret_probe)
{
    struct shared *shared = arg;
    char url[MAX_URL_BYTES];
    int err = write_url(question->instance, question->check->path, url, sizeof url);
    if (err)
        return err;
    struct probe *probe = calloc(1, sizeof *probe);
    if (!probe)
        return UV_ENOMEM;
    *probe = (struct probe){.shared = shared,
                            .fn = question->fn,
                            .arg = question->arg,
                            .detail = question->detail,
                            .least_status = question->check->least_status,
                            .most_status = question->check->most_status};
    if (!set_up(probe, question, url) || curl_multi_add_handle(shared->curl.multi, probe->easy)) {
        curl_easy_cleanup(probe->easy);
        probe->easy = NULL;
        probe_free(probe);
        return UV_ENOMEM;
    }
    *ret_probe = probe;
    return FW_OK;
}

/* ---- what the probes of a loop share ---- */

static void on_gone(fwi_task *task, void *arg)
{
    (void)task;
    struct shared *shared = arg;
    void (*on_closed)(void *arg) = shared->on_closed;
    void *closed_arg = shared->arg;
    free(shared);
    on_closed(closed_arg);
}

/* It may still be in use further up the stack: it goes in a later turn. */
static void on_poll_closed(void *arg)
{
    struct shared *shared = arg;
    if (shared->closing && !shared->curl.polls)
        fwi_loop_defer(shared->curl.loop, &shared->gone);
}

static int open_shared(fw_loop *loop, void **ret_shared)
{
    struct shared *shared = calloc(1, sizeof *shared);
    if (!shared)
        return UV_ENOMEM;
    shared->curl =
        (fwi_curl_loop){.on_done = on_done, .on_poll_closed = on_poll_closed, .arg = shared};
    shared->gone = (fwi_task){.fn = on_gone, .arg = shared};
    int err = fwi_curl_loop_start(&shared->curl, loop);
    if (err)
        free(shared);
    else
        *ret_shared = shared;
    return err;
}

static void close_shared(void *arg, void (*on_closed)(void *arg), void *closed_arg)
{
    struct shared *shared = arg;
    shared->on_closed = on_closed;
    shared->arg = closed_arg;
    shared->closing = true;
    fwi_curl_loop_end(&shared->curl);
    on_poll_closed(shared);
}

const fwi_health_driver fwi_health_module_driver = {
    .open = open_shared, .close = close_shared, .start = start, .cancel = cancel};
