/*
 * The token of a store with users.
 *
 *     none -> ASKING -> a token, or the store has no users: all who wait go on
 *      ^        `-----> refused, or nobody answers: all who wait are told
 *      `-- a call was refused for its token
 *
 * One authentication is under way for all callers. A token ends when it was not used for a while,
 * when its member starts anew, and when the users are changed; it is not renewed by the clock, but
 * when a call is refused: etcd has done nothing of that call then. The generation tells a refusal
 * of the token that is in use from the late refusals of the one before.
 *
 * A wrong password is not tried in a loop: within HOLD_MS the answer is given from memory, and each
 * operation asks once.
 */
#include "etcd_http.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOLD_MS         1000
#define MAX_TOKEN_BYTES 8192

static const char *const common_headers[] = {
    "Content-Type: application/json",
    "Expect:", /* else curl waits for a word of the server before it sends a large body */
    "Grpc-Metadata-hasleader: true",
};

static fwi_eh_headers *headers_new(const char *token)
{
    fwi_eh_headers *headers = calloc(1, sizeof *headers);
    if (!headers)
        return NULL;
    headers->references = 1;
    struct curl_slist *list = NULL;
    char line[MAX_TOKEN_BYTES + 32];
    (void)snprintf(line, sizeof line, "Authorization: %s", token ? token : "");
    size_t count = sizeof common_headers / sizeof *common_headers;
    for (size_t i = 0; i < count + (token ? 1 : 0); i++) {
        list = curl_slist_append(headers->list, i < count ? common_headers[i] : line);
        if (!list) {
            curl_slist_free_all(headers->list);
            free(headers);
            return NULL;
        }
        headers->list = list;
    }
    return headers;
}

static void headers_drop(fwi_eh_headers **headers)
{
    if (*headers)
        fwi_eh_headers_release(*headers);
    *headers = NULL;
}

int fwi_eh_auth_init(fwi_eh_client *client, const fwi_kv_access *access)
{
    fwi_eh_auth *auth = &client->auth;
    fwi_list_init(&auth->waiters);
    if (access->user) {
        auth->user = strdup(access->user);
        auth->password = strdup(access->password);
        if (!auth->user || !auth->password)
            return UV_ENOMEM;
    }
    auth->plain = headers_new(NULL);
    return auth->plain ? FW_OK : UV_ENOMEM;
}

void fwi_eh_auth_fini(fwi_eh_client *client)
{
    fwi_eh_auth *auth = &client->auth;
    fwi_loop_defer_cancel(client->core.loop, &auth->tell);
    headers_drop(&auth->plain);
    headers_drop(&auth->signed_in);
    free(auth->user);
    if (auth->password)
        explicit_bzero(auth->password, strlen(auth->password));
    free(auth->password);
}

fwi_eh_headers *fwi_eh_auth_headers(fwi_eh_client *client)
{
    fwi_eh_auth *auth = &client->auth;
    return auth->user && !auth->not_needed ? auth->signed_in : auth->plain;
}

bool fwi_eh_is_auth_refusal(int code, const char *text)
{
    switch (code) {
    case FWI_EC_UNAUTHENTICATED:
        return true;
    case FWI_EC_INVALID_ARGUMENT:
        return strstr(text, "auth store is old") || strstr(text, "user name is empty");
    case FWI_EC_UNKNOWN:
        return strstr(text, "revision in header is old") != NULL;
    default:
        return false;
    }
}

void fwi_eh_auth_refused(fwi_eh_client *client, unsigned generation)
{
    fwi_eh_auth *auth = &client->auth;
    if (generation != auth->generation)
        return;
    auth->generation++;
    auth->not_needed = false;
    headers_drop(&auth->signed_in);
}

const char *fwi_eh_auth_trouble(const fwi_eh_client *client)
{
    return client->auth.request ? fwi_eh_request_trouble(client->auth.request) : "";
}

static void tell_all(fwi_eh_auth *auth, int status, const char *detail)
{
    fwi_list waiters;
    fwi_list_init(&waiters);
    fwi_list_splice(&waiters, &auth->waiters);
    for (fwi_list *node; (node = fwi_list_pop(&waiters));) {
        fwi_eh_token_waiter *waiter = fwi_container_of(node, fwi_eh_token_waiter, node);
        waiter->fn(status, detail, waiter->arg);
    }
}

/* Tells what is known already; in a turn of its own. */
static void on_tell(fwi_task *task, void *arg)
{
    (void)task;
    fwi_eh_auth *auth = arg;
    tell_all(auth, auth->refusal, auth->detail);
}

static int take_token(fwi_eh_auth *auth, const cJSON *reply)
{
    const char *token = fwi_eh_json_text(reply, "token");
    size_t len = strlen(token);
    if (!len || len > MAX_TOKEN_BYTES)
        return FW_ESTORE;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)token[i] <= ' ' || (unsigned char)token[i] >= 0x7f)
            return FW_ESTORE;
    headers_drop(&auth->signed_in);
    auth->signed_in = headers_new(token);
    return auth->signed_in ? FW_OK : UV_ENOMEM;
}

static void on_authenticated(const fwi_ec_answer *answer, void *arg)
{
    fwi_eh_client *client = arg;
    fwi_eh_auth *auth = &client->auth;
    auth->request = NULL;
    int status = answer->status;
    const char *detail = answer->detail;
    const fwi_eh_reply *reply = answer->reply; /* NULL: there is none */
    if (reply && reply->code == FWI_EC_FAILED_PRECONDITION && strstr(detail, "not enabled")) {
        auth->not_needed = true;
        status = FW_OK;
    } else if (!status) {
        status = take_token(auth, reply->json);
        detail = status ? "malformed token" : "";
    }
    if (status == FW_EAUTH) {
        auth->refused_until_ms = fw_loop_now_ms(client->core.loop) + HOLD_MS;
        auth->refusal = status;
        (void)snprintf(auth->detail, sizeof auth->detail, "%s", detail);
    }
    tell_all(auth, status, detail);
}

/* {"name":...,"password":...}, in memory that is as large as it will ever be, so that no copy of
 * the password is left behind. */
static bool write_credentials(const fwi_eh_auth *auth, fwi_eh_text *text)
{
    if (!fwi_eh_text_reserve(text, 6 * (strlen(auth->user) + strlen(auth->password)) + 64))
        return false;
    fwi_eh_text_add(text, "{\"name\":");
    fwi_eh_text_add_string(text, auth->user);
    fwi_eh_text_add(text, ",\"password\":");
    fwi_eh_text_add_string(text, auth->password);
    fwi_eh_text_add(text, "}");
    return !text->failed;
}

static int authenticate(fwi_eh_client *client)
{
    fwi_eh_auth *auth = &client->auth;
    fwi_eh_text text = {.data = NULL};
    if (!write_credentials(auth, &text)) {
        fwi_eh_text_fini(&text);
        return UV_ENOMEM;
    }
    fwi_eh_request_options options = {.path = "/v3/auth/authenticate",
                                      .body = &text,
                                      .deadline_ms = fw_loop_now_ms(client->core.loop) +
                                                     fwi_kv_timeout_ms(client->core.kv),
                                      .repeatable = true,
                                      .urgent = true,
                                      .is_secret = true,
                                      .fn = on_authenticated,
                                      .arg = client};
    return fwi_eh_request_start(client, &options, &auth->request);
}

void fwi_eh_auth_wait(fwi_eh_client *client, fwi_eh_token_waiter *waiter)
{
    fwi_eh_auth *auth = &client->auth;
    fwi_list_push_back(&auth->waiters, &waiter->node);
    if (auth->request || auth->tell.node.next)
        return;
    if (fw_loop_now_ms(client->core.loop) >= auth->refused_until_ms) {
        auth->refusal = authenticate(client);
        auth->detail[0] = 0;
    }
    if (auth->refusal) {
        auth->tell.fn = on_tell;
        auth->tell.arg = auth;
        fwi_loop_defer(client->core.loop, &auth->tell);
    }
}
