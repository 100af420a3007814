/*
 * Users. etcd gives a token for a name and a password; every call and stream carries it as
 * metadata.
 *
 *     NONE -> asking -> TOKEN (generation n) -> refused -> asking -> TOKEN (n + 1) ...
 *                 `-> FW_EAUTH, or the store cannot be asked: all who wait are told; whoever comes
 *                     next asks again
 *
 * A token is renewed when it is refused, not before: etcd forgets tokens also when it restarts, so
 * no clock of ours says how long one lives. Checking a password takes the server a tenth of a
 * second, so one authentication is under way at most, for all who wait. A store whose users are
 * switched off answers with an error that is taken for an empty token.
 */
#include "etcd.h"

#include "etcd.pb-c.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

bool fwi_etcd_auth_ready(const fwi_etcd_client *client)
{
    return !client->auth.user || client->auth.generation;
}

unsigned fwi_etcd_auth_generation(const fwi_etcd_client *client)
{
    return client->auth.generation;
}

bool fwi_etcd_is_auth_refusal(const fwi_etcd_client *client, grpc_status_code code,
                              const char *text)
{
    static const char *const refusals[] = {"invalid auth token", "revision of auth store is old",
                                           "revision in header is old", "user name is empty"};
    if (!client->auth.user)
        return false;
    if (code == GRPC_STATUS_UNAUTHENTICATED)
        return true;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
        if (strstr(text, refusals[i]))
            return true;
    return false;
}

static void answer_waiting(fwi_etcd_client *client, int status, const char *detail)
{
    /* Who asks again in its callback waits for the next answer. */
    fwi_list now;
    fwi_list_init(&now);
    fwi_list_splice(&now, &client->auth.waiting);
    for (fwi_list *node; (node = fwi_list_pop(&now));) {
        fwi_etcd_auth_wait *wait = fwi_container_of(node, fwi_etcd_auth_wait, node);
        wait->fn(wait, status, detail, wait->arg);
    }
}

static void take_token(fwi_etcd_auth *auth, const char *token)
{
    grpc_slice_unref(auth->token);
    auth->token = grpc_slice_from_copied_string(token);
    if (!++auth->generation)
        auth->generation = 1;
}

static void on_authenticated(const fwi_ec_answer *answer, void *arg)
{
    fwi_etcd_client *client = arg;
    client->auth.request = NULL;
    int status = answer->status;
    const char *detail = answer->detail;
    if (status == FW_ESTORE && strstr(detail, "authentication is not enabled")) {
        take_token(&client->auth, "");
        status = FW_OK;
    } else if (!status) {
        fw_slice message = ((const fwi_etcd_reply *)answer->reply)->message;
        Epb__AuthenticateReply *reply =
            epb__authenticate_reply__unpack(NULL, message.len, message.data);
        if (reply) {
            take_token(&client->auth, reply->token);
        } else {
            status = FW_ESTORE;
            detail = "malformed reply";
        }
        epb__authenticate_reply__free_unpacked(reply, NULL);
    }
    answer_waiting(client, status, detail);
}

static int authenticate(fwi_etcd_client *client)
{
    Epb__AuthenticateRequest message = EPB__AUTHENTICATE_REQUEST__INIT;
    message.name = client->auth.user;
    message.password = client->auth.password;
    fwi_etcd_request_options options = {.method = FWI_ETCD_AUTHENTICATE,
                                        .message = &message.base,
                                        .deadline_ms = fw_loop_now_ms(client->core.loop) +
                                                       fwi_kv_timeout_ms(client->core.kv),
                                        .repeatable = true,
                                        .impatient = true,
                                        .fn = on_authenticated,
                                        .arg = client};
    return fwi_etcd_request_start(client, &options, &client->auth.request);
}

/* For those who found a newer token there, or for whom nobody could be asked. */
static void on_answer(fwi_task *task, void *arg)
{
    (void)task;
    fwi_etcd_client *client = arg;
    if (client->auth.request)
        return; /* its answer is for all */
    answer_waiting(client, client->auth.error, "");
}

void fwi_etcd_auth_renew(fwi_etcd_client *client, unsigned generation, fwi_etcd_auth_wait *wait)
{
    fwi_etcd_auth *auth = &client->auth;
    fwi_list_push_back(&auth->waiting, &wait->node);
    if (auth->request)
        return;
    auth->error = auth->generation == generation ? authenticate(client) : FW_OK;
    if (!auth->request)
        fwi_loop_defer(client->core.loop, &auth->answer);
}

void fwi_etcd_auth_wait_cancel(fwi_etcd_auth_wait *wait)
{
    if (wait->node.next)
        fwi_list_remove(&wait->node);
}

int fwi_etcd_auth_init(fwi_etcd_client *client, const fwi_kv_access *access)
{
    fwi_etcd_auth *auth = &client->auth;
    fwi_list_init(&auth->waiting);
    auth->token = grpc_empty_slice();
    auth->answer = (fwi_task){.fn = on_answer, .arg = client};
    if (!access->user)
        return access->password ? fwi_kv_open_failed(client->core.kv, FW_EOPTION,
                                                     "there is a password, but no user")
                                : FW_OK;
    auth->user = strdup(access->user);
    auth->password = strdup(access->password ? access->password : "");
    return auth->user && auth->password ? FW_OK : UV_ENOMEM;
}

void fwi_etcd_auth_fini(fwi_etcd_client *client)
{
    fwi_etcd_auth *auth = &client->auth;
    if (auth->answer.fn)
        fwi_loop_defer_cancel(client->core.loop, &auth->answer);
    if (auth->password)
        explicit_bzero(auth->password, strlen(auth->password));
    free(auth->user);
    free(auth->password);
    grpc_slice_unref(auth->token);
}
