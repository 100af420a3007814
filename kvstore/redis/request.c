/*
 * Commands on a link, each with its deadline.
 *
 *     QUEUED --flush--> SENT --reply--> answered
 *        ^                |
 *        +----------------+ the connection broke: if not a byte of it had left, or if it may be
 *        |                  repeated; else it is answered FW_EUNKNOWN
 *        +------------------ the server refused it for now (NOSCRIPT, LOADING, READONLY, ...)
 *
 * After such a refusal nothing more is sent; when everything sent is answered, the script is
 * loaded again, or the connection made again. A request whose deadline passes is answered; if it
 * was sent it stays, forgotten, to take its reply.
 *
 * Bounds: what is sent and not answered, WINDOW_REQUESTS and WINDOW_BYTES; what is queued behind
 * it, QUEUE_REQUESTS and QUEUE_BYTES, above which FW_ELIMIT.
 */
#include "redis.h"

#include <fairway/error.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define WINDOW_REQUESTS 1024
#define WINDOW_BYTES    ((size_t)4 * 1024 * 1024) /* not yet written by the kernel */
#define WRITE_REQUESTS  256                       /* of one write */
#define QUEUE_REQUESTS  (256 * 1024)
#define QUEUE_BYTES     ((size_t)1024 * 1024 * 1024)

enum state { QUEUED, SENT, LEAVING };

struct fwi_redis_request {
    fwi_list node;
    fwi_redis_link *link;
    enum state state;
    fwi_redis_kind kind;
    uint64_t deadline_ms;
    fwi_timer timer;
    fwi_redis_command *command;
    uint64_t start; /* SENT: of its first byte on the connection */
    uint64_t sent_ms;
    fwi_redis_answered_fn on_answered; /* NULL: forgotten */
    void *arg;
};

uint64_t fwi_redis_clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- arguments ---- */

static fwi_redis_arg *add(fwi_redis_args *args)
{
    if (args->count == args->capacity) {
        size_t capacity = args->capacity ? args->capacity * 2 : 24;
        fwi_redis_arg *items = realloc(args->items, capacity * sizeof *items);
        if (!items) {
            args->out_of_memory = true;
            return NULL;
        }
        args->items = items;
        args->capacity = capacity;
    }
    return &args->items[args->count++];
}

void fwi_redis_args_bytes(fwi_redis_args *args, const void *data, size_t len)
{
    fwi_redis_arg *arg = add(args);
    if (arg)
        arg->data = data ? data : "", arg->len = len;
}

void fwi_redis_args_text(fwi_redis_args *args, const char *text)
{
    fwi_redis_args_bytes(args, text, strlen(text));
}

void fwi_redis_args_number(fwi_redis_args *args, int64_t number)
{
    fwi_redis_arg *arg = add(args);
    if (!arg)
        return;
    arg->data = NULL;
    arg->len = (size_t)snprintf(arg->number, sizeof arg->number, "%lld", (long long)number);
}

void fwi_redis_args_script(fwi_redis_args *args, const fwi_redis_client *client,
                           const char *command)
{
    fwi_redis_args_text(args, "EVALSHA");
    fwi_redis_args_text(args, fwi_redis_script_sha);
    fwi_redis_args_number(args, FWI_REDIS_KEYS);
    for (size_t i = 0; i < FWI_REDIS_KEYS; i++)
        fwi_redis_args_text(args, client->names[i]);
    fwi_redis_args_text(args, command);
}

void fwi_redis_args_fini(fwi_redis_args *args)
{
    free(args->items);
    *args = (fwi_redis_args){.count = 0};
}

fwi_redis_command *fwi_redis_format(const fwi_redis_args *args)
{
    const char **data = malloc((args->count + 1) * sizeof *data);
    size_t *lens = malloc((args->count + 1) * sizeof *lens);
    fwi_redis_command *command = malloc(sizeof *command);
    int len = -1;
    if (!args->out_of_memory && data && lens && command) {
        for (size_t i = 0; i < args->count; i++) {
            const fwi_redis_arg *arg = &args->items[i];
            data[i] = arg->data ? arg->data : arg->number;
            lens[i] = arg->len;
        }
        *command = (fwi_redis_command){.references = 1};
        len = redisFormatCommandArgv(&command->data, (int)args->count, data, lens);
    }
    free(data);
    free(lens);
    if (len < 0) {
        free(command);
        return NULL;
    }
    command->len = (size_t)len;
    return command;
}

/* ---- answering ---- */

/* The request is in no list any more. */
static void answer(fwi_redis_request *request, const fwi_redis_reply *reply)
{
    fwi_redis_answered_fn on_answered = request->on_answered;
    void *arg = request->arg;
    fwi_loop_timer_stop(request->link->client->loop, &request->timer);
    fwi_redis_command_release(request->command);
    free(request);
    if (on_answered)
        on_answered(reply, arg);
}

static void leave_queue(fwi_redis_request *request)
{
    fwi_list_remove(&request->node);
    request->link->queue_count--;
    request->link->queue_bytes -= request->command->len;
}

/* Puts into the queue, before `place`. */
static void enter_queue(fwi_redis_request *request, fwi_list *place)
{
    request->state = QUEUED;
    fwi_list_push_back(place, &request->node);
    request->link->queue_count++;
    request->link->queue_bytes += request->command->len;
}

static void on_deadline(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_redis_request *request = arg;
    fwi_redis_link *link = request->link;
    fwi_redis_reply reply = {.detail = link->detail};
    if (request->state == QUEUED) {
        leave_queue(request);
        reply.status = link->reason ? link->reason : FW_EUNREACHABLE;
        answer(request, &reply);
        return;
    }
    fwi_redis_answered_fn on_answered = request->on_answered;
    request->on_answered = NULL;
    reply.status = request->kind == FWI_REDIS_ONCE ? FW_EUNKNOWN : FW_EDEADLINE;
    reply.detail = "the server did not answer in time";
    if (on_answered)
        on_answered(&reply, request->arg);
}

void fwi_redis_forget(fwi_redis_request *request)
{
    request->on_answered = NULL;
    if (request->state != QUEUED)
        return;
    leave_queue(request);
    answer(request, NULL);
}

void fwi_redis_fail_queue(fwi_redis_link *link, int status, const char *detail, bool all)
{
    fwi_list leaving;
    fwi_list_init(&leaving);
    fwi_list_for_each_safe (node, &link->queue) {
        fwi_redis_request *request = fwi_container_of(node, fwi_redis_request, node);
        if (!all && request->deadline_ms == UINT64_MAX)
            continue;
        leave_queue(request);
        request->state = LEAVING;
        fwi_list_push_back(&leaving, node);
    }
    for (fwi_list *node; (node = fwi_list_pop(&leaving));)
        answer(fwi_container_of(node, fwi_redis_request, node),
               &(fwi_redis_reply){.status = status, .detail = detail});
}

/* ---- sending ---- */

static size_t take_batch(fwi_redis_link *link, fwi_list *batch, fwi_redis_command **commands)
{
    size_t count = 0, bytes = fwi_redis_socket_backlog(link->socket);
    uint64_t start = fwi_redis_socket_given(link->socket), now_ms = fwi_redis_clock_ms();
    while (count < WRITE_REQUESTS && link->flight_count + count < WINDOW_REQUESTS &&
           bytes < WINDOW_BYTES && !fwi_list_empty(&link->queue)) {
        fwi_redis_request *request = fwi_container_of(link->queue.next, fwi_redis_request, node);
        leave_queue(request);
        request->start = start;
        request->sent_ms = now_ms;
        start += request->command->len;
        bytes += request->command->len;
        commands[count++] = request->command;
        fwi_list_push_back(batch, &request->node);
    }
    return count;
}

static void flush(fwi_redis_link *link)
{
    fwi_redis_command *commands[WRITE_REQUESTS];
    while (link->state == FWI_REDIS_UP && link->pause == FWI_REDIS_FINAL) {
        fwi_list batch;
        fwi_list_init(&batch);
        size_t count = take_batch(link, &batch, commands);
        if (!count)
            return;
        int err = fwi_redis_socket_write(link->socket, commands, count);
        fwi_list *place = link->queue.next;
        for (fwi_list *node; (node = fwi_list_pop(&batch));) {
            fwi_redis_request *request = fwi_container_of(node, fwi_redis_request, node);
            if (err) {
                enter_queue(request, place);
                continue;
            }
            request->state = SENT;
            fwi_list_push_back(&link->flight, node);
            link->flight_count++;
        }
        if (err) {
            fwi_redis_link_fail(link, FW_EUNREACHABLE, uv_strerror(err));
            return;
        }
        fwi_redis_link_expect(link);
    }
}

static void on_flush(fwi_task *task, void *arg)
{
    (void)task;
    flush(arg);
}

int fwi_redis_ask(fwi_redis_link *link, fwi_redis_kind kind, uint64_t deadline_ms,
                  fwi_redis_args *args, fwi_redis_answered_fn on_answered, void *arg,
                  fwi_redis_request **ret_request)
{
    fw_loop *loop = link->client->loop;
    fwi_redis_request *request = calloc(1, sizeof *request);
    fwi_redis_command *command = request ? fwi_redis_format(args) : NULL;
    fwi_redis_args_fini(args);
    if (!command) {
        free(request);
        return UV_ENOMEM;
    }
    if (link->queue_count >= QUEUE_REQUESTS || link->queue_bytes + command->len > QUEUE_BYTES) {
        fwi_redis_command_release(command);
        free(request);
        return FW_ELIMIT;
    }
    *request = (fwi_redis_request){.link = link,
                                   .kind = kind,
                                   .deadline_ms = deadline_ms,
                                   .timer = {.fn = on_deadline, .arg = request},
                                   .command = command,
                                   .on_answered = on_answered,
                                   .arg = arg};
    if (deadline_ms != UINT64_MAX) {
        uint64_t now = fw_loop_now_ms(loop);
        fwi_loop_timer_start(loop, &request->timer, deadline_ms > now ? deadline_ms - now : 0);
    }
    enter_queue(request, &link->queue);
    fwi_loop_defer(loop, &link->flush);
    if (ret_request)
        *ret_request = request;
    return FW_OK;
}

/* ---- from the link ---- */

void fwi_redis_requests_init(fwi_redis_link *link)
{
    fwi_list_init(&link->queue);
    fwi_list_init(&link->flight);
    link->flush = (fwi_task){.fn = on_flush, .arg = link};
}

void fwi_redis_requests_up(fwi_redis_link *link)
{
    fwi_loop_defer(link->client->loop, &link->flush);
}

/* Fills the answer from the reply; false if the server refused for now. */
static bool understand(fwi_redis_link *link, fwi_redis_kind kind, const redisReply *reply,
                       fwi_redis_reply *ret_answer)
{
    if (reply->type == REDIS_REPLY_ERROR) {
        fwi_redis_refusal refusal = fwi_redis_classify(reply, &ret_answer->status);
        ret_answer->detail = reply->str;
        if (refusal == FWI_REDIS_FINAL)
            return true;
        link->pause = refusal > link->pause ? refusal : link->pause;
        (void)snprintf(link->detail, sizeof link->detail, "%s", reply->str);
        return false;
    }
    fw_backoff_reset(&link->backoff);
    ret_answer->reply = reply;
    if (kind == FWI_REDIS_PLAIN)
        return true;
    int64_t due_ms;
    ret_answer->status = fwi_redis_answer(reply, &ret_answer->revision, &due_ms);
    if (ret_answer->status == FW_ESTORE) {
        ret_answer->reply = NULL;
        ret_answer->detail = "malformed reply";
    } else {
        fwi_redis_heard_due(link->client, due_ms);
    }
    return true;
}

void fwi_redis_requests_reply(fwi_redis_link *link, const redisReply *reply)
{
    fwi_list *node = fwi_list_pop(&link->flight);
    if (!node) {
        fwi_redis_link_fail(link, FW_EUNREACHABLE, "the server sent what nobody asked for");
        return;
    }
    link->flight_count--;
    fwi_redis_request *request = fwi_container_of(node, fwi_redis_request, node);
    fwi_redis_reply result = {.detail = "", .sent_ms = request->sent_ms};
    if (understand(link, request->kind, reply, &result) || !request->on_answered)
        answer(request, &result);
    else
        enter_queue(request, link->queue.next);
    if (link->state != FWI_REDIS_UP)
        return; /* stopped in the callback */
    if (link->pause != FWI_REDIS_FINAL && !link->flight_count) {
        fwi_redis_refusal pause = link->pause;
        link->pause = FWI_REDIS_FINAL;
        if (pause == FWI_REDIS_RELOAD)
            fwi_redis_link_reload(link);
        else
            fwi_redis_link_fail(link, FW_EUNREACHABLE, link->detail);
    } else if (!fwi_list_empty(&link->queue)) {
        fwi_loop_defer(link->client->loop, &link->flush);
    }
}

void fwi_redis_requests_down(fwi_redis_link *link, uint64_t handed_over)
{
    fwi_list leaving, *place = link->queue.next;
    fwi_list_init(&leaving);
    link->pause = FWI_REDIS_FINAL;
    link->flight_count = 0;
    for (fwi_list *node; (node = fwi_list_pop(&link->flight));) {
        fwi_redis_request *request = fwi_container_of(node, fwi_redis_request, node);
        if (request->on_answered &&
            (request->kind != FWI_REDIS_ONCE || request->start >= handed_over)) {
            enter_queue(request, place);
        } else {
            request->state = LEAVING;
            fwi_list_push_back(&leaving, node);
        }
    }
    for (fwi_list *node; (node = fwi_list_pop(&leaving));)
        answer(fwi_container_of(node, fwi_redis_request, node),
               &(fwi_redis_reply){.status = FW_EUNKNOWN, .detail = link->detail});
}
