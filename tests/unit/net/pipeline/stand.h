/* One server with a pipeline and one client, which is a call engine: what the pipeline's tests
 * share. */
#ifndef STAND_H
#define STAND_H

#include "fwt.h"

#include <fairway/pipeline.h>

#define WAIT_MS 20000

/* How the last call ended. */
typedef struct stand_answer {
    size_t count;
    int status;
    int64_t code;
    bool logic;
    char text[256], body[256], metadata[64];
} stand_answer;

extern fw_pipeline *pipeline;
extern fw_server *server;
extern fw_process *process;
extern size_t server_gone, process_gone, responses;
extern fw_rpc *client;
extern fw_process_request *kept[16];
extern size_t kept_count;
extern char trace[256];
extern stand_answer last;

/* A word more in trace. */
void note(const char *word);
void create(fw_pipeline_options options);
void add(const char *method, fw_process_fn handler);
/* Listens, dials, and waits for both ends. */
void start(void);
/* Ends all, answers what is kept, and looks whether the counts are even. */
void stop(void);

/* For servers: each session gets a process of the pipeline. */
void on_session(fw_server *from, fw_session *session, void *arg);
void on_server_closed(fw_server *from, void *arg);

/* Handlers: the first notes that it ran, the last keeps the request. */
void on_echo(fw_process_request *request, void *arg);
void on_forget(fw_process_request *request, void *arg);
void on_fail(fw_process_request *request, void *arg);
void on_later(fw_process_request *request, void *arg);

void on_answer(const fw_rpc_result *result, void *arg);
void call_async(const char *method, const char *body);
/* The same, and waits for the answer. */
void call(const char *method, const char *body);
void expect_error(int64_t code, const char *text);

#endif
