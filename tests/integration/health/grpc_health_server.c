/*
 * A server of grpc.health.v1.Health for the tests, with gRPC's C core. Prints "port N". The name of
 * the service that is asked for says what it answers: "" and "up" are SERVING, "down" is not,
 * "silent" gets no answer, "turns" is SERVING until SIGUSR1, and after the next; others are not
 * found. With an argument it has no such method.
 */
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK "/grpc.health.v1.Health/Check"

enum { SERVING = 1, NOT_SERVING = 2 };

struct call {
    enum { ASKED, READ, ANSWERED } next; /* what its tag says when it comes */
    grpc_call *grpc;
    grpc_call_details details;
    grpc_metadata_array metadata;
    grpc_byte_buffer *message;
    int canceled;
};

static volatile sig_atomic_t is_turned;
static grpc_completion_queue *queue;
static grpc_server *server;

static void on_signal(int signal)
{
    (void)signal;
    is_turned = !is_turned;
}

static void wait_for_call(void)
{
    struct call *call = calloc(1, sizeof *call);
    grpc_call_details_init(&call->details);
    grpc_metadata_array_init(&call->metadata);
    if (grpc_server_request_call(server, &call->grpc, &call->details, &call->metadata, queue, queue,
                                 call))
        exit(1);
}

static void do_batch(struct call *call, const grpc_op *ops, size_t count)
{
    if (grpc_call_start_batch(call->grpc, ops, count, call, NULL))
        exit(1);
}

static void read_request(struct call *call)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &call->message};
    call->next = READ;
    do_batch(call, &op, 1);
}

/* The only field of the request. */
static void read_name(struct call *call, char *ret_name, size_t size)
{
    grpc_byte_buffer_reader reader;
    ret_name[0] = 0;
    if (!call->message || !grpc_byte_buffer_reader_init(&reader, call->message))
        return;
    grpc_slice slice = grpc_byte_buffer_reader_readall(&reader);
    const char *bytes = (const char *)GRPC_SLICE_START_PTR(slice);
    if (GRPC_SLICE_LENGTH(slice) > 2 && bytes[0] == 0x0a)
        snprintf(ret_name, size, "%.*s", (int)bytes[1], bytes + 2);
    grpc_slice_unref(slice);
    grpc_byte_buffer_reader_destroy(&reader);
}

static void answer(struct call *call, grpc_status_code code, const char *text, int status)
{
    char bytes[] = {0x08, (char)status};
    grpc_slice details = grpc_slice_from_static_string(text);
    grpc_slice slice = grpc_slice_from_copied_buffer(bytes, sizeof bytes);
    grpc_byte_buffer *reply = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_op ops[4] = {
        {.op = GRPC_OP_SEND_INITIAL_METADATA},
        {.op = GRPC_OP_RECV_CLOSE_ON_SERVER,
         .data.recv_close_on_server.cancelled = &call->canceled},
        {.op = GRPC_OP_SEND_STATUS_FROM_SERVER,
         .data.send_status_from_server = {.status = code, .status_details = &details}},
        {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = reply}};
    call->next = ANSWERED;
    do_batch(call, ops, code ? 3 : 4);
    grpc_byte_buffer_destroy(reply);
    grpc_slice_unref(slice);
}

static void reply_to(struct call *call, bool has_method)
{
    char name[128];
    read_name(call, name, sizeof name);
    if (!has_method || grpc_slice_str_cmp(call->details.method, CHECK))
        answer(call, GRPC_STATUS_UNIMPLEMENTED, "", 0);
    else if (!name[0] || !strcmp(name, "up"))
        answer(call, GRPC_STATUS_OK, "", SERVING);
    else if (!strcmp(name, "turns"))
        answer(call, GRPC_STATUS_OK, "", is_turned ? NOT_SERVING : SERVING);
    else if (!strcmp(name, "down"))
        answer(call, GRPC_STATUS_OK, "", NOT_SERVING);
    else if (strcmp(name, "silent"))
        answer(call, GRPC_STATUS_NOT_FOUND, "unknown service", 0);
}

static void end(struct call *call)
{
    if (call->message)
        grpc_byte_buffer_destroy(call->message);
    grpc_call_details_destroy(&call->details);
    grpc_metadata_array_destroy(&call->metadata);
    grpc_call_unref(call->grpc);
    free(call);
}

int main(int argc, char **argv)
{
    (void)argv;
    signal(SIGUSR1, on_signal);
    grpc_init();
    queue = grpc_completion_queue_create_for_next(NULL);
    server = grpc_server_create(NULL, NULL);
    grpc_server_register_completion_queue(server, queue, NULL);
    grpc_server_credentials *credentials = grpc_insecure_server_credentials_create();
    int port = grpc_server_add_http2_port(server, "127.0.0.1:0", credentials);
    grpc_server_credentials_release(credentials);
    grpc_server_start(server);
    printf("port %d\n", port);
    fflush(stdout);
    wait_for_call();
    for (;;) {
        grpc_event event =
            grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
        struct call *call = event.tag;
        if (call->next == ASKED) {
            wait_for_call();
            read_request(call);
        } else if (call->next == READ) {
            reply_to(call, argc == 1);
        } else {
            end(call);
        }
    }
}
